#include "trainer/gradient_reducer.h"

#include <chrono>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace musher {

/// Called by autograd when a parameter's gradient of one backward pass is complete.
class GradientReducer::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientReducer& reducer, std::size_t slot) : reducer_(reducer), slot_(slot) {}
  void operator()(const torch::autograd::Variable& /*parameter*/) override {
    reducer_.on_gradient(slot_);
  }

 private:
  GradientReducer& reducer_;
  std::size_t slot_;
};

GradientReducer::GradientReducer(FlatParameters& parameters, std::int64_t bucket_bytes,
                                 GradientPlaces* places)
    : parameters_(parameters), places_(places) {
  const auto& slots = parameters.slots();
  const std::int64_t limit = bucket_bytes / static_cast<std::int64_t>(sizeof(float));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (buckets_.empty() || slots[i].offset + slots[i].count - buckets_.back().begin > limit) {
      if (!buckets_.empty()) buckets_.back().end = slots[i].offset;
      buckets_.push_back({slots[i].offset, 0, 0, 0});
    }
    ++buckets_.back().slots;
    bucket_of_slot_.push_back(buckets_.size() - 1);
    torch::autograd::impl::set_post_acc_grad_hooks(slots[i].parameter,
                                                   std::make_unique<Hook>(*this, i));
  }
  buckets_.back().end = parameters.gradient_size();
  filled_.resize(slots.size());
}

GradientReducer::~GradientReducer() {
  if (places_ != nullptr) places_->withdraw_all();
  for (const ParameterSlot& slot : parameters_.slots()) {
    torch::autograd::impl::set_post_acc_grad_hooks(slot.parameter, nullptr);
  }
}

void GradientReducer::begin(Collective& collective, int backwards) {
  collective_ = &collective;
  passes_left_ = backwards;
  next_bucket_ = 0;
  under_way_.clear();
  std::fill(filled_.begin(), filled_.end(), false);
}

void GradientReducer::begin_backward() {
  --passes_left_;
  for (Bucket& bucket : buckets_) bucket.pending = bucket.slots;
  if (places_ == nullptr) return;
  const at::NoGradGuard no_grad;
  places_->withdraw_all();
  for (std::size_t i = 0; i < filled_.size(); ++i) {
    const ParameterSlot& slot = parameters_.slots()[i];
    if (!filled_[i]) places_->offer(slot.parameter, place_of(slot));
  }
}

at::Tensor GradientReducer::place_of(const ParameterSlot& slot) const {
  return parameters_.gradients().narrow(0, slot.offset, slot.count).view(slot.parameter.sizes());
}

void GradientReducer::on_gradient(std::size_t index) {
  const at::NoGradGuard no_grad;
  const ParameterSlot& slot = parameters_.slots()[index];
  at::Tensor& gradient = slot.parameter.mutable_grad();
  const at::Tensor place = place_of(slot);
  if (filled_[index]) {
    place.add_(gradient);
  } else {
    if (gradient.data_ptr() != place.data_ptr()) place.copy_(gradient);
    filled_[index] = true;
  }
  gradient.reset();
  if (--buckets_[bucket_of_slot_[index]].pending == 0 && passes_left_ == 0) start_ready_buckets();
}

void GradientReducer::start_ready_buckets() {
  while (next_bucket_ < buckets_.size() && buckets_[next_bucket_].pending <= 0) {
    const Bucket& bucket = buckets_[next_bucket_++];
    auto* data = parameters_.gradients().data_ptr<float>();
    under_way_.push_back(collective_->all_reduce(
        {data + bucket.begin, static_cast<std::size_t>(bucket.end - bucket.begin),
         DType::kFloat32}));
  }
}

void GradientReducer::finish(Deadline deadline) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < filled_.size(); ++i) {
    if (filled_[i]) continue;
    const ParameterSlot& slot = parameters_.slots()[i];
    parameters_.gradients().narrow(0, slot.offset, slot.count).zero_();
  }
  for (Bucket& bucket : buckets_) bucket.pending = 0;
  start_ready_buckets();
  const auto started = std::chrono::steady_clock::now();
  for (; !under_way_.empty(); under_way_.pop_front()) under_way_.front()->wait(deadline);
  waited_seconds_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

std::vector<std::int64_t> GradientReducer::bucket_sizes() const {
  std::vector<std::int64_t> sizes;
  sizes.reserve(buckets_.size());
  for (const Bucket& bucket : buckets_) sizes.push_back(bucket.end - bucket.begin);
  return sizes;
}

}  // namespace musher

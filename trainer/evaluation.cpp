#include "trainer/evaluation.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/zeros.h>

#include "trainer/training_step.h"

namespace musher {

Evaluation evaluate(Model& model, Pipeline& pipeline, std::uint64_t steps, Collective& collective,
                    c10::Device device, ActivityClock& activity, Deadline deadline) {
  const at::NoGradGuard no_grad;
  model.train(false);
  // loss, correct, samples; on the device until the end, so that no batch waits for the one before.
  at::Tensor sums = at::zeros({3}, at::TensorOptions(at::kDouble).device(device));
  for (std::uint64_t step = 0; step < steps; ++step) {
    const Batch batch = [&] {
      const DuringActivity waiting(&activity, Activity::kWaitingForData);
      return pipeline.next(deadline);
    }();
    if (batch.samples() == 0) continue;
    const at::Tensor targets = targets_of(batch, device);
    const at::Tensor logits = model.forward(inputs_of(batch, device));
    sums[0].add_(at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum));
    sums[1].add_(logits.argmax(1).eq(targets).sum());
    sums[2].add_(batch.samples());
  }
  const DuringActivity waiting(&activity, Activity::kWaitingForRanks);
  collective.all_reduce({sums.data_ptr<double>(), 3, DType::kFloat64})->wait(deadline);
  sums = sums.cpu();
  const auto* sum = sums.data_ptr<double>();
  const double samples = std::max(1.0, sum[2]);
  return {sum[0] / samples, sum[1] / samples, static_cast<std::uint64_t>(sum[2])};
}

AveragedBuffers::AveragedBuffers(Model& model, std::uint64_t samples_trained,
                                 Collective& collective, Deadline deadline) {
  const at::NoGradGuard no_grad;
  for (auto& [name, buffer] : model.buffers()) {
    if (buffer.is_floating_point()) buffers_.emplace_back(name, buffer);
  }
  if (buffers_.empty()) return;
  const double weight = static_cast<double>(std::max<std::uint64_t>(1, samples_trained));
  std::vector<at::Tensor> parts;
  for (auto& [name, buffer] : buffers_) {
    own_.push_back(buffer.clone());
    parts.push_back(buffer.detach().reshape({-1}).to(at::kDouble).mul(weight));
  }
  parts.push_back(at::zeros({1}, parts.front().options()).fill_(weight));
  at::Tensor flat = at::cat(parts);
  collective
      .all_reduce(
          {flat.data_ptr<double>(), static_cast<std::size_t>(flat.numel()), DType::kFloat64})
      ->wait(deadline);
  const at::Tensor total = flat[flat.numel() - 1];
  std::int64_t offset = 0;
  for (auto& [name, buffer] : buffers_) {
    buffer.copy_(flat.narrow(0, offset, buffer.numel()).div(total).view(buffer.sizes()));
    offset += buffer.numel();
  }
}

AveragedBuffers::~AveragedBuffers() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < own_.size(); ++i) buffers_[i].second.copy_(own_[i]);
}

}  // namespace musher

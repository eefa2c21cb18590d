#include "trainer/level.h"

#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

namespace musher {
namespace {

/// What a TrainingState is beside the tensors, as plain numbers.
struct Numbers {
  std::uint64_t step, closed_epochs;
  std::uint64_t samples, sum, undecodable_samples, undecodable_sum;
  double loss_sum;
  Measures measures;
  OptimizerProgress optimizer;
  std::uint64_t metrics;  ///< numbers in metric_by_epoch, which follow
};

Numbers numbers_of(const TrainingState& state, const Optimizer& optimizer) {
  const EpochTally& tally = state.tally;
  return {state.step,
          state.closed_epochs,
          tally.digest.samples,
          tally.digest.sum,
          tally.undecodable.samples,
          tally.undecodable.sum,
          tally.loss_sum,
          tally.measures,
          optimizer.progress(),
          state.metric_by_epoch.size()};
}

void take_over(const Numbers& numbers, TrainingState& state, Optimizer& optimizer) {
  state.step = numbers.step;
  state.closed_epochs = numbers.closed_epochs;
  state.tally.digest = {numbers.samples, numbers.sum};
  state.tally.undecodable = {numbers.undecodable_samples, numbers.undecodable_sum};
  state.tally.loss_sum = numbers.loss_sum;
  state.tally.measures = numbers.measures;
  state.optimizer = numbers.optimizer;
  optimizer.set_progress(numbers.optimizer);
}

/// A tensor on its way: received beside its place where what is in the place is still needed.
struct Transfer {
  at::Tensor place;
  at::Tensor received;  ///< `place` itself where its contents are the same anyway
  bool wanted = true;
};

void broadcast(Collective& collective, const at::Tensor& tensor, int source, Deadline deadline) {
  collective.broadcast(
      {tensor.data_ptr(), static_cast<std::size_t>(tensor.nbytes()), DType::kUInt8}, source,
      deadline);
}

}  // namespace

void level(Collective& collective, const Agreement& agreement, const Standpoint& mine,
           TrainingStep& step, TrainingState& state, Deadline deadline) {
  const at::NoGradGuard no_grad;
  const bool behind = is_behind(mine, agreement);
  const bool is_source = collective.rank() == agreement.source;
  std::vector<Transfer> transfers;
  const auto add = [&](const at::Tensor& place, bool same, bool wanted) {
    transfers.push_back({place, same ? place : at::empty_like(place), wanted});
  };
  const StateTensors tensors = step.tensors();
  for (const auto& [name, tensor] : tensors.flat) add(tensor, !behind, behind);
  const bool takes_buffers = mine.has_state == 0 || (behind && step.synchronized());
  for (const auto& [name, buffer] : tensors.own) add(buffer, is_source, takes_buffers);

  Numbers numbers = numbers_of(state, step.optimizer());
  collective.host().broadcast({&numbers, sizeof numbers, DType::kUInt8}, agreement.source,
                              deadline);
  std::vector<double> metrics = state.metric_by_epoch;
  metrics.resize(numbers.metrics);
  if (!metrics.empty()) {
    collective.host().broadcast({metrics.data(), metrics.size(), DType::kFloat64}, agreement.source,
                                deadline);
  }
  for (const Transfer& transfer : transfers) {
    broadcast(collective, transfer.received, agreement.source, deadline);
  }
  for (Transfer& transfer : transfers) {
    if (transfer.wanted) transfer.place.copy_(transfer.received);
  }
  if (!behind) return;
  take_over(numbers, state, step.optimizer());
  state.metric_by_epoch = std::move(metrics);
}

BufferSnapshot::BufferSnapshot(Model& model) : buffers_(model.buffers()) {
  for (const auto& [name, buffer] : buffers_) saved_.push_back(buffer.detach().clone());
}

void BufferSnapshot::take() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < saved_.size(); ++i) saved_[i].copy_(buffers_[i].second);
}

void BufferSnapshot::restore() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < saved_.size(); ++i) buffers_[i].second.copy_(saved_[i]);
}

}  // namespace musher

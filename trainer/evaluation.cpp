#include "trainer/evaluation.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

namespace musher {

Totals evaluate(Model& model, const Task& task, Pipeline& pipeline, std::uint64_t steps,
                Collective& collective, c10::Device device, ActivityClock& activity,
                Deadline deadline) {
  const at::NoGradGuard no_grad;
  model.train(false);
  // samples, loss, measures; on the device until the end, so that no batch waits for the one
  // before.
  constexpr std::int64_t kSums = 2 + StepVector::kMostMeasures;
  at::Tensor sums = at::zeros({kSums}, at::TensorOptions(at::kDouble).device(device));
  for (std::uint64_t step = 0; step < steps; ++step) {
    const Batch batch = [&] {
      const DuringActivity waiting(&activity, Activity::kWaitingForData);
      return pipeline.next(deadline);
    }();
    if (batch.samples() == 0) continue;
    const Examples examples = task.examples(batch, device);
    const Judgement judgement =
        task.judge(model.forward(examples.inputs), examples, /*training=*/false);
    sums[0].add_(batch.samples());
    sums[1].add_(judgement.loss);
    std::int64_t place = 2;
    for (const at::Tensor& measure : judgement.measures) sums[place++].add_(measure);
  }
  const DuringActivity waiting(&activity, Activity::kWaitingForRanks);
  collective
      .all_reduce({sums.data_ptr<double>(), static_cast<std::size_t>(kSums), DType::kFloat64})
      ->wait(deadline);
  sums = sums.cpu();
  const auto* sum = sums.data_ptr<double>();
  Totals totals{static_cast<std::uint64_t>(sum[0]), sum[1]};
  std::copy_n(sum + 2, totals.measures.size(), totals.measures.begin());
  return totals;
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

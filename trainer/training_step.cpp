#include "trainer/training_step.h"

#include <array>
#include <chrono>
#include <cmath>
#include <string>

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "common/error.h"
#include "common/random.h"

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

/// Adds the time since `mark` to `total` and sets the mark to now.
void lap(Clock::time_point& mark, double& total) {
  const auto now = Clock::now();
  total += std::chrono::duration<double>(now - mark).count();
  mark = now;
}

void move_to(Model& model, c10::Device device) {
  if (device.is_cpu()) return;
  for (auto& [name, tensor] : model.parameters()) tensor.set_data(tensor.to(device));
  for (auto& [name, tensor] : model.buffers()) tensor.set_data(tensor.to(device));
}

}  // namespace

at::Tensor inputs_of(const Batch& batch, c10::Device device) {
  std::vector<std::int64_t> shape = {batch.samples()};
  shape.insert(shape.end(), batch.input_shape.begin(), batch.input_shape.end());
  // from_blob wants a pointer that may be written through; nothing writes to inputs.
  return at::from_blob(const_cast<float*>(batch.inputs.data()), shape, at::kFloat)
      .to(device);  // NOLINT(*-const-cast)
}

at::Tensor targets_of(const Batch& batch, c10::Device device) {
  return at::from_blob(const_cast<std::int64_t*>(batch.targets.data()), {batch.samples()},
                       at::kLong)  // NOLINT(*-const-cast)
      .to(device);
}

at::Tensor soft_targets_of(const Batch& batch, std::int64_t classes, c10::Device device) {
  const auto indexes = [&](const std::vector<std::int64_t>& labels) {
    return at::from_blob(const_cast<std::int64_t*>(labels.data()), {batch.samples(), 1},
                         at::kLong);  // NOLINT(*-const-cast)
  };
  const at::Tensor shares =
      at::from_blob(const_cast<float*>(batch.target_shares.data()), {batch.samples(), 1},
                    at::kFloat);  // NOLINT(*-const-cast)
  return at::zeros({batch.samples(), classes}, at::kFloat)
      .scatter_add_(1, indexes(batch.targets), shares)
      .scatter_add_(1, indexes(batch.other_targets), shares.neg().add_(1))
      .to(device);
}

TrainingStep::TrainingStep(Model& model, const Hyperparameters& hyperparameters, Options options)
    : model_((move_to(model, options.device), model)),
      options_(std::move(options)),
      label_smoothing_(hyperparameters.label_smoothing),
      seed_(hyperparameters.seed),
      parameters_(model, StepVector::kElements, options_.gradient_memory),
      reducer_(parameters_, options_.bucket_bytes, model.gradient_places()),
      optimizer_(hyperparameters, parameters_) {}

void TrainingStep::forward_backward(const Batch& batch) {
  auto mark = Clock::now();
  const at::Tensor targets = targets_of(batch, options_.device);
  const at::Tensor logits = model_.forward(inputs_of(batch, options_.device));
  const at::Tensor wanted = batch.other_targets.empty()
                                ? targets
                                : soft_targets_of(batch, logits.size(1), options_.device);
  const at::Tensor loss =
      at::cross_entropy_loss(logits, wanted, {}, at::Reduction::Sum, -100, label_smoothing_);
  {
    const at::NoGradGuard no_grad;
    at::Tensor tail = parameters_.tail();
    tail[StepVector::kLoss].copy_(loss);
    tail[StepVector::kCorrect].copy_(logits.argmax(1).eq(targets).sum());
  }
  lap(mark, times_.forward);
  options_.faults.at("backward", batch.step + 1);
  reducer_.begin_backward();
  loss.backward();
  lap(mark, times_.backward);
}

StepVector TrainingStep::run(const Batch& batch, const StepVector& mine, double learning_rate,
                             Collective& collective, Deadline deadline) {
  // Dropout and the like: a pure function of (seed, step, rank), so that a resumed run draws the
  // same.
  Random random{seed_, batch.step, static_cast<std::uint64_t>(collective.rank())};
  at::manual_seed(random.next() >> 1);

  std::array<float, StepVector::kElements> vector{};
  mine.write(vector);
  parameters_.tail().copy_(at::from_blob(vector.data(), {StepVector::kElements}, at::kFloat));

  model_.train(true);
  const bool has_samples = batch.samples() > 0;
  reducer_.begin(collective, has_samples ? 1 : 0);
  options_.faults.at("forward", batch.step + 1);
  if (has_samples) forward_backward(batch);

  auto mark = Clock::now();
  {
    options_.faults.at("all-reduce", batch.step + 1);
    const DuringActivity waiting(options_.activity, Activity::kWaitingForRanks);
    options_.faults.lose_collective(batch.step + 1,
                                    [&] { return collective.failure().has_value(); });
    reducer_.finish(deadline);
  }
  lap(mark, times_.reduce);

  const at::Tensor reduced = parameters_.tail().cpu();
  const StepVector sum = StepVector::read({reduced.data_ptr<float>(), StepVector::kElements});
  if (!std::isfinite(sum.loss_sum)) {
    throw Error(ErrorCode::kFailedPrecondition,
                "the loss of step " + std::to_string(batch.step) + " is " +
                    std::to_string(sum.loss_sum) +
                    "; a lower learning_rate or a warm-up may be right");
  }
  options_.faults.at("optimizer", batch.step + 1);
  if (sum.digest.samples > 0)
    optimizer_.step(learning_rate, parameters_.tail()[StepVector::kSamples]);
  lap(mark, times_.optimizer);
  return sum;
}

}  // namespace musher

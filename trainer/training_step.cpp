#include "trainer/training_step.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <span>
#include <string>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "common/error.h"
#include "common/random.h"
#include "model/autocast.h"
#include "trainer/loss_scale.h"
#include "trainer/norms.h"

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

/// Adds the time since `mark` to `total` and sets the mark to now.
void lap(Clock::time_point& mark, double& total) {
  const auto now = Clock::now();
  total += std::chrono::duration<double>(now - mark).count();
  mark = now;
}

/// A gradient that overflows fp16 with less is no matter of the scale any more.
constexpr double kLeastLossScale = 1.0 / 65536;

std::optional<at::ScalarType> reduced(Precision precision) {
  switch (precision) {
    case Precision::kBFloat16:
      return at::kBFloat16;
    case Precision::kFloat16:
      return at::kHalf;
    case Precision::kFloat32:
      break;
  }
  return std::nullopt;
}

void move_to(Model& model, c10::Device device) {
  if (device.is_cpu()) return;
  for (auto& [name, tensor] : model.parameters()) tensor.set_data(tensor.to(device));
  for (auto& [name, tensor] : model.buffers()) tensor.set_data(tensor.to(device));
}

}  // namespace

TrainingStep::TrainingStep(Model& model, const Task& task, const Hyperparameters& hyperparameters,
                           Options options)
    : model_((move_to(model, options.device), model)),
      task_(task),
      options_(std::move(options)),
      seed_(hyperparameters.seed),
      gradient_accumulation_(hyperparameters.gradient_accumulation),
      clip_grad_norm_(hyperparameters.clip_grad_norm),
      synchronized_(hyperparameters.sync_batch_norm),
      channels_last_(hyperparameters.channels_last),
      reduced_precision_(reduced(hyperparameters.precision)),
      batch_size_(static_cast<double>(hyperparameters.batch_size)),
      loss_scale_growth_interval_(hyperparameters.loss_scale_growth_interval),
      parameters_(model, StepVector::kElements, options_.gradient_memory),
      reducer_(parameters_, options_.bucket_bytes, model.gradient_places()),
      optimizer_(hyperparameters, parameters_, model.head_prefix()) {
  if (hyperparameters.ema_decay > 0)
    average_.emplace(parameters_, model, hyperparameters.ema_decay);
  if (hyperparameters.feature_cache_bytes > 0) cache_.emplace(hyperparameters.feature_cache_bytes);
  if (!synchronized_) return;
  std::int64_t channels = 0;
  for (const auto& [name, buffer] : model.buffers()) channels = std::max(channels, buffer.numel());
  statistics_ =
      at::zeros({2 * channels + 1}, at::TensorOptions(at::kDouble).device(options_.device));
  model.synchronize_batch_norm([this](at::Tensor sums) { sum_over_ranks(std::move(sums)); });
}

TrainingStep::~TrainingStep() {
  if (synchronized_) model_.synchronize_batch_norm({});
}

/// By way of memory that outlives a failure: an operation that was cut off may still write there.
void TrainingStep::sum_over_ranks(at::Tensor statistics) {
  const at::Tensor place = statistics_.narrow(0, 0, statistics.numel());
  place.copy_(statistics);
  const DuringActivity waiting(options_.activity, Activity::kWaitingForRanks);
  const auto sum = collective_->all_reduce(
      {place.data_ptr<double>(), static_cast<std::size_t>(place.numel()), DType::kFloat64});
  options_.faults.at(in_backward_ ? "batch-norm-backward" : "batch-norm", step_);
  sum->wait(deadline_);
  statistics.copy_(place);
}

/// In `passes` of about the same size, the loss being a sum over samples: so is the gradient.
void TrainingStep::forward_backward(const Batch& batch, std::int64_t passes) {
  Examples examples = task_.examples(batch, options_.device);
  if (channels_last_ && examples.inputs.dim() == 4)
    examples.inputs = examples.inputs.contiguous(at::MemoryFormat::ChannelsLast);
  const std::int64_t samples = batch.samples();
  for (std::int64_t i = 0; i < passes; ++i) {
    const std::int64_t begin = samples * i / passes;
    const std::int64_t count = samples * (i + 1) / passes - begin;
    pass(batch, begin, examples.narrow(begin, count));
  }
}

/// Over the samples of the batch from `begin` on that `examples` has.
void TrainingStep::pass(const Batch& batch, std::int64_t begin, const Examples& examples) {
  auto mark = Clock::now();
  in_backward_ = false;
  Judgement judgement;
  {
    const Autocast autocast(options_.device.type(), reduced_precision_);
    judgement = task_.judge(outputs_of(batch, begin, examples.inputs), examples, /*training=*/true);
  }
  const at::Tensor& loss = judgement.loss;
  {
    const at::NoGradGuard no_grad;
    at::Tensor tail = parameters_.tail();
    tail[StepVector::kLoss].add_(loss);
    std::int64_t place = StepVector::kMeasures;
    for (const at::Tensor& measure : judgement.measures) tail[place++].add_(measure);
  }
  lap(mark, times_.forward);
  options_.faults.at("backward", step_);
  in_backward_ = true;
  reducer_.begin_backward();
  (optimizer_.loss_scale().scale > 0 ? loss * loss_factor() : loss).backward();
  lap(mark, times_.backward);
}

at::Tensor TrainingStep::outputs_of(const Batch& batch, std::int64_t begin,
                                    const at::Tensor& inputs) {
  if (!cache_) return model_.forward(inputs);
  const auto keys =
      std::span(batch.keys)
          .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(inputs.size(0)));
  return model_.head(cache_->features(keys, options_.device, [&](const at::Tensor& positions) {
    return model_.features(inputs.index_select(0, positions));
  }));
}

/// With fp16 backward is given the scaled mean over a global batch, not the sum: what fits into
/// fp16 then does not hang on the batch size.
double TrainingStep::loss_factor() const {
  return optimizer_.loss_scale().scale / batch_size_;
}

/// What the summed gradient is divided by: the number of samples, and more where its norm is beyond
/// clip_grad_norm (Pascanu et al., "On the difficulty of training recurrent neural networks",
/// 2013), as torch.nn.utils.clip_grad_norm_ has it. Every rank has the same gradient by now and so
/// works out the same norm.
at::Tensor TrainingStep::divisor(std::uint64_t step) const {
  const at::Tensor samples = parameters_.tail()[StepVector::kSamples];
  if (clip_grad_norm_ == 0) return samples;
  const double norm = norms(parameters_.gradients(), {{0, parameters_.size()}}).item<double>() /
                      samples.item<double>();
  if (!std::isfinite(norm)) {
    throw Error(ErrorCode::kFailedPrecondition,
                "the norm of the gradient of step " + std::to_string(step) + " is " +
                    std::to_string(norm) + "; a lower learning_rate or a warm-up may be right");
  }
  const double kept = std::min(1.0, clip_grad_norm_ / (norm + 1e-6));
  return samples / kept;
}

/// False where the gradient overflowed. Every rank has the same one by now, and so decides alike.
bool TrainingStep::unscale_gradients(std::uint64_t step) {
  const bool finite = unscale(parameters_.gradient_values(), loss_factor());
  optimizer_.set_loss_scale(
      next_loss_scale(optimizer_.loss_scale(), finite, loss_scale_growth_interval_));
  if (optimizer_.loss_scale().scale < kLeastLossScale) {
    throw Error(ErrorCode::kFailedPrecondition,
                "the gradient of step " + std::to_string(step) +
                    " is not finite, however small the loss scale of fp16; the precision bf16 or a "
                    "lower learning_rate may be right");
  }
  return finite;
}

/// The optimizer step with the summed gradient.
void TrainingStep::update(std::uint64_t step, const StepRates& rates) {
  if (optimizer_.loss_scale().scale > 0 && !unscale_gradients(step)) return;
  optimizer_.step(rates, divisor(step));
  if (average_) average_->update(optimizer_.steps() == 1);
}

StepVector TrainingStep::run(const Batch& batch, const StepVector& mine, const StepRates& rates,
                             Collective& collective, Deadline deadline) {
  // Dropout and the like: a pure function of (seed, step, rank), so that a resumed run draws the
  // same.
  Random random{seed_, batch.step, static_cast<std::uint64_t>(collective.rank())};
  at::manual_seed(random.next() >> 1);

  std::array<float, StepVector::kElements> vector{};
  mine.write(vector);
  parameters_.tail().copy_(at::from_blob(vector.data(), {StepVector::kElements}, at::kFloat));

  model_.train(true);
  // Batch-norm over all ranks wants the same passes of each, with samples or without; and its sums
  // and those of gradients must not cross, so that the latter wait for backward to be over.
  const std::int64_t passes =
      synchronized_ ? gradient_accumulation_ : std::min(gradient_accumulation_, batch.samples());
  collective_ = &collective;
  deadline_ = deadline;
  step_ = batch.step + 1;
  reducer_.begin(collective, static_cast<int>(passes) + (synchronized_ ? 1 : 0));
  options_.faults.at("forward", step_);
  if (passes > 0) forward_backward(batch, passes);

  auto mark = Clock::now();
  {
    options_.faults.at("all-reduce", step_);
    const DuringActivity waiting(options_.activity, Activity::kWaitingForRanks);
    options_.faults.lose_collective(step_, [&] { return collective.failure().has_value(); });
    reducer_.finish(deadline);
  }
  lap(mark, times_.reduce);

  const at::Tensor reduced = parameters_.tail().cpu();
  const StepVector sum = StepVector::read({reduced.data_ptr<float>(), StepVector::kElements});
  if (!std::isfinite(sum.loss_sum)) {
    throw Error(ErrorCode::kFailedPrecondition,
                "the loss of step " + std::to_string(batch.step) + " is " +
                    std::to_string(sum.loss_sum) +
                    "; a lower learning_rate or a warm-up may be right" +
                    (reduced_precision_ == at::kHalf ? ", or the precision bf16" : ""));
  }
  options_.faults.at("optimizer", step_);
  if (sum.digest.samples > 0) update(batch.step, rates);
  lap(mark, times_.optimizer);
  return sum;
}

}  // namespace musher

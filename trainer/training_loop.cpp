#include "trainer/training_loop.h"

#include <chrono>
#include <utility>

#include "common/error.h"
#include "trainer/schedule.h"

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

/// The state of one call of train(): the position, and what is on its way to the coordinator.
class Loop {
 public:
  Loop(const LoopParts& parts, TrainingState state) : parts_(parts), state_(std::move(state)) {
    total_steps_ = static_cast<std::uint64_t>(hyper().epochs) * parts_.steps_per_epoch;
  }

  LoopResult run();

 private:
  const Hyperparameters& hyper() const { return parts_.membership.job.hyperparameters; }
  Deadline deadline() const { return Deadline::after(parts_.step_timeout); }
  bool at_epoch_end() const { return state_.step % parts_.steps_per_epoch == 0; }
  bool checkpoint_due() const;

  StepVector step();
  void take_in(const Batch& batch, const StepVector& sum);
  void end_epoch(std::uint64_t epoch);
  void save();
  void report(Phase phase);

  const LoopParts& parts_;
  TrainingState state_;
  std::uint64_t total_steps_ = 0;
  bool checkpoint_wanted_ = false;  // by a step that found the writer busy
  std::uint64_t saved_step_ = 0;
  std::vector<std::string> undecodable_keys_;
  std::vector<MetricPoint> metrics_;
  Progress progress_;
  Clock::time_point epoch_started_ = Clock::now();
  std::uint64_t epoch_samples_ = 0;  // since epoch_started_, for the rate
};

LoopResult Loop::run() {
  saved_step_ = state_.step;
  progress_.steps = total_steps_;
  report(Phase::kTraining);
  parts_.client.flush(deadline());  // or a job of a few steps would never be seen in training
  bool stopped = false;
  while (state_.step < total_steps_ && !stopped) {
    const std::uint64_t epoch = state_.step / parts_.steps_per_epoch;
    const StepVector sum = step();
    stopped = sum.stop > 0 && state_.step < total_steps_;
    if (at_epoch_end()) end_epoch(epoch);
    checkpoint_wanted_ |= checkpoint_due() || sum.checkpoint > 0;
    // A writer that some rank still keeps busy makes all wait for a later step, but for the last
    // chance there is.
    if (checkpoint_wanted_ && (sum.checkpoint_busy == 0 || at_epoch_end() || stopped)) save();
    if (stopped && saved_step_ != state_.step) save();
  }
  if (parts_.checkpoints != nullptr) parts_.checkpoints->wait();
  return {stopped, state_, metrics_};
}

bool Loop::checkpoint_due() const {
  const auto every = static_cast<std::uint64_t>(hyper().checkpoint_every_steps);
  return at_epoch_end() || (every > 0 && state_.step % every == 0);
}

StepVector Loop::step() {
  const auto started = Clock::now();
  const Batch batch = parts_.input.next(deadline());
  const Directives directives = parts_.client.directives();

  StepVector mine;
  mine.digest = batch.digest;
  mine.undecodable = batch.undecodable;
  mine.stop = directives.stop || parts_.stop_signal ? 1 : 0;
  mine.checkpoint = directives.checkpoint_now ? 1 : 0;
  mine.checkpoint_busy = parts_.checkpoints != nullptr && parts_.checkpoints->busy() ? 1 : 0;
  if (directives.checkpoint_now) parts_.client.checkpoint_taken();

  const double rate = learning_rate(hyper(), state_.step, parts_.steps_per_epoch);
  const StepVector sum = parts_.step.run(batch, mine, rate, parts_.collective, deadline());
  take_in(batch, sum);
  progress_.step_seconds = std::chrono::duration<double>(Clock::now() - started).count();
  report(Phase::kTraining);
  return sum;
}

void Loop::take_in(const Batch& batch, const StepVector& sum) {
  ++state_.step;
  state_.samples_trained += static_cast<std::uint64_t>(batch.samples());
  state_.tally.digest += sum.digest;
  state_.tally.undecodable += sum.undecodable;
  state_.tally.loss_sum += sum.loss_sum;
  state_.tally.correct += static_cast<std::uint64_t>(sum.correct);
  epoch_samples_ += sum.digest.samples;
  undecodable_keys_.insert(undecodable_keys_.end(), batch.undecodable_keys.begin(),
                           batch.undecodable_keys.end());

  const double seconds = std::chrono::duration<double>(Clock::now() - epoch_started_).count();
  progress_.step = state_.step;
  progress_.epoch = batch.epoch;
  progress_.samples_per_second = static_cast<double>(epoch_samples_) / std::max(seconds, 1e-9);
  if (sum.digest.samples > 0)
    progress_.loss = sum.loss_sum / static_cast<double>(sum.digest.samples);
}

void Loop::end_epoch(std::uint64_t epoch) {
  const EpochTally tally = std::exchange(state_.tally, {});
  parts_.client.epoch(
      {epoch, tally.digest, tally.undecodable, std::exchange(undecodable_keys_, {})});

  const double samples = static_cast<double>(std::max<std::uint64_t>(1, tally.digest.samples));
  metrics_ = {{"train:loss", tally.loss_sum / samples, state_.step, epoch},
              {"train:accuracy", static_cast<double>(tally.correct) / samples, state_.step, epoch},
              {"train:samples_per_second", progress_.samples_per_second, state_.step, epoch}};
  if (parts_.validation != nullptr) {
    report(Phase::kValidating);
    const AveragedBuffers averaged(parts_.step.model(), state_.samples_trained, parts_.collective,
                                   deadline());
    const Evaluation result =
        evaluate(parts_.step.model(), *parts_.validation, parts_.validation_steps,
                 parts_.collective, parts_.device, deadline());
    metrics_.push_back({"validation:loss", result.loss, state_.step, epoch});
    metrics_.push_back({"validation:accuracy", result.accuracy, state_.step, epoch});
  }
  if (parts_.collective.rank() == 0) {
    for (const MetricPoint& point : metrics_) parts_.client.metric(point);
  }
  epoch_started_ = Clock::now();
  epoch_samples_ = 0;
}

void Loop::save() {
  checkpoint_wanted_ = false;
  if (parts_.checkpoints == nullptr) return;
  parts_.checkpoints->save(state_, parts_.checkpoint_writers,
                           {parts_.collective.rank(), parts_.collective.size()},
                           parts_.step.parameters(), parts_.step.optimizer(), parts_.step.model());
  saved_step_ = state_.step;
}

void Loop::report(Phase phase) {
  progress_.phase = phase;
  parts_.client.progress(progress_);
}

}  // namespace

LoopResult train(const LoopParts& parts, TrainingState state) {
  return Loop(parts, std::move(state)).run();
}

}  // namespace musher

#include "trainer/training_loop.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"
#include "job/metric_goal.h"
#include "trainer/schedule.h"

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

/// Metrics that have points within epochs where metrics_every_steps asks for them.
constexpr std::array kCurves = {"train:loss", "train:samples_per_second"};

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

}  // namespace

TrainingLoop::TrainingLoop(const LoopParts& parts)
    : parts_(parts),
      total_steps_(static_cast<std::uint64_t>(parts.hyperparameters.epochs) *
                   parts.steps_per_epoch),
      buffers_(parts.step.model()),
      curve_(parts.metrics_every_steps, total_steps_),
      epoch_started_(Clock::now()) {
  progress_.steps = total_steps_;
}

void TrainingLoop::enter(std::uint64_t closed_epochs, bool stopping, bool regrouped) {
  state_.closed_epochs = closed_epochs;
  stopping_ = stopping;
  leaving_ = false;
  sum_ = {};
  // What was being written when the generation ended may never be committed, so at an epoch's end
  // all write once more.
  saved_step_ = regrouped ? std::nullopt : std::optional(state_.step);
  if (regrouped && parts_.checkpoints != nullptr && parts_.checkpoints->busy()) {
    checkpoint_wanted_ = true;
  }
}

LoopEnd TrainingLoop::run(const LoopGeneration& generation) {
  const bool led = std::exchange(leads_, generation.collective.rank() == 0);
  if (leads_ && !led) tell_as_new_leader();
  progress_.step = state_.step;
  report(Phase::kTraining);
  // Or a job of a few steps would never be seen in training.
  if (!std::exchange(told_, true)) {
    tell_of_coarser_curves();
    parts_.client.flush(deadline());
    epoch_started_ = Clock::now();
  }
  if (curve_step_ != state_.step) curve_.begin(state_.tally, Clock::now());
  while (true) {
    if (state_.closed_epochs < state_.step / parts_.steps_per_epoch) close_epoch(generation);
    stopping_ |= sum_.stop > 0 && !over();
    save_if_due(generation);
    if (over() || stopping_) {
      if (parts_.checkpoints != nullptr) parts_.checkpoints->wait();
      if (!stopping_ && leads_) tell_of_early_stop();
      return stopping_ ? LoopEnd::kStopped : LoopEnd::kDone;
    }
    if (sum_.leave > 0) return LoopEnd::kLeaving;
    if (sum_.newcomer > 0) return LoopEnd::kGrowing;
    run_step(generation);
  }
}

bool TrainingLoop::checkpoint_due() const {
  if (saved_step_ == state_.step || state_.step == 0) return false;
  const auto every = static_cast<std::uint64_t>(hyper().checkpoint_every_steps);
  return at_epoch_end() || stopping_ || (every > 0 && state_.step % every == 0);
}

/// Where some rank's writer is still busy, all save at a later step: no store holds up training.
/// Only the last chance there is waits.
void TrainingLoop::save_if_due(const LoopGeneration& generation) {
  checkpoint_wanted_ |= checkpoint_due() || sum_.checkpoint > 0;
  const bool last_chance = stopping_ || over();
  if (!checkpoint_wanted_ || (sum_.checkpoint_busy > 0 && !last_chance)) return;
  checkpoint_wanted_ = false;
  saved_step_ = state_.step;
  if (parts_.checkpoints == nullptr) return;
  parts_.checkpoints->save(state_, generation.checkpoint_writers,
                           {generation.collective.rank(), generation.collective.size()},
                           parts_.step.tensors());
}

StepVector TrainingLoop::votes(const Batch& batch, const LoopGeneration& generation) {
  const Directives directives = parts_.client.directives();
  StepVector mine;
  mine.digest = batch.digest;
  mine.undecodable = batch.undecodable;
  mine.stop = directives.stop || parts_.stop_signal ? 1 : 0;
  mine.checkpoint = directives.checkpoint_now ? 1 : 0;
  mine.checkpoint_busy = parts_.checkpoints != nullptr && parts_.checkpoints->busy() ? 1 : 0;
  mine.leave = directives.leave ? 1 : 0;
  mine.newcomer = generation.newcomer_ready && generation.newcomer_ready() ? 1 : 0;
  leaving_ = directives.leave;
  if (directives.checkpoint_now) parts_.client.checkpoint_taken();
  return mine;
}

void TrainingLoop::run_step(const LoopGeneration& generation) {
  const auto started = Clock::now();
  under_way_ = state_.step + 1;
  const Batch batch = [&] {
    const DuringActivity waiting(&parts_.activity, Activity::kWaitingForData);
    return generation.input.next(deadline());
  }();
  data_seconds_ += seconds_since(started);
  const StepVector mine = votes(batch, generation);
  const StepRates rates = step_rates(hyper(), state_.step, parts_.steps_per_epoch);
  buffers_.take();
  try {
    sum_ = parts_.step.run(batch, mine, rates, generation.collective, deadline());
  } catch (const PeerFailure&) {
    buffers_.restore();
    throw;
  }
  parts_.faults.at("commit", batch.step + 1);
  take_in(batch, sum_);
  tell_curve_point(batch.epoch);
  under_way_.reset();
  progress_.step_seconds = seconds_since(started);
  if (recovery_) {
    recovery_->step = state_.step;
    recovery_->seconds = seconds_since(noticed_);
    if (leads_) parts_.client.recovered(*recovery_);
    recovery_.reset();
  }
  report(Phase::kTraining);
}

void TrainingLoop::take_in(const Batch& batch, const StepVector& sum) {
  ++state_.step;
  note_optimizer(sum.digest.samples > 0);
  state_.samples_trained += static_cast<std::uint64_t>(batch.samples());
  state_.tally.digest += sum.digest;
  state_.tally.undecodable += sum.undecodable;
  state_.tally.loss_sum += sum.loss_sum;
  for (std::size_t i = 0; i < sum.measures.size(); ++i) state_.tally.measures[i] += sum.measures[i];
  epoch_samples_ += sum.digest.samples;
  ++epoch_steps_;
  undecodable_keys_.insert(undecodable_keys_.end(), batch.undecodable_keys.begin(),
                           batch.undecodable_keys.end());

  progress_.step = state_.step;
  progress_.epoch = batch.epoch;
  progress_.samples_per_second =
      static_cast<double>(epoch_samples_) / std::max(seconds_since(epoch_started_), 1e-9);
  if (sum.digest.samples > 0)
    progress_.loss = sum.loss_sum / static_cast<double>(sum.digest.samples);
}

/// `had_samples`: there was a gradient to step with.
void TrainingLoop::note_optimizer(bool had_samples) {
  const OptimizerProgress before = state_.optimizer;
  state_.optimizer = parts_.step.optimizer().progress();
  const double scale = state_.optimizer.loss_scale.scale;
  const bool skipped = had_samples && scale > 0 && state_.optimizer.steps == before.steps;
  if (!skipped || !leads_) return;
  std::cout << fmt::format("step {} skipped: its gradient overflows fp16; the loss scale is {}\n",
                           state_.step, scale)
            << std::flush;
}

void TrainingLoop::close_epoch(const LoopGeneration& generation) {
  const std::uint64_t epoch = state_.closed_epochs;
  const EpochTally& tally = state_.tally;
  metrics_.clear();
  add_metrics("train:", {tally.digest.samples, tally.loss_sum, tally.measures}, epoch);
  metrics_.push_back(
      {"train:samples_per_second", progress_.samples_per_second, state_.step, epoch});
  if (leads_) tell_step_times(epoch);
  if (generation.validation != nullptr) validate(generation, epoch);
  note_metric(epoch);

  last_epoch_ = {epoch, tally.digest, tally.undecodable, std::exchange(undecodable_keys_, {})};
  parts_.client.epoch(*last_epoch_);
  if (leads_) tell_epoch_metrics();
  state_.tally = {};
  ++state_.closed_epochs;
  curve_.begin({}, Clock::now());
  epoch_started_ = Clock::now();
  epoch_samples_ = 0;
  epoch_steps_ = 0;
  times_before_ = parts_.step.times();
  data_seconds_ = 0;
}

/// Where the time of this epoch's steps went: means over those that this process ran.
void TrainingLoop::tell_step_times(std::uint64_t epoch) {
  if (epoch_steps_ == 0) return;
  const StepTimes& now = parts_.step.times();
  const auto tell = [&](const char* name, double seconds) {
    const double mean = seconds / static_cast<double>(epoch_steps_);
    parts_.client.metric({name, mean, state_.step, epoch});
  };
  tell("train:step_seconds", seconds_since(epoch_started_));
  tell("train:data_seconds", data_seconds_);
  tell("train:forward_seconds", now.forward - times_before_.forward);
  tell("train:backward_seconds", now.backward - times_before_.backward);
  tell("train:reduce_seconds", now.reduce - times_before_.reduce);
  tell("train:optimizer_seconds", now.optimizer - times_before_.optimizer);
}

void TrainingLoop::validate(const LoopGeneration& generation, std::uint64_t epoch) {
  report(Phase::kValidating);
  const UsingAverage using_average(parts_.step.average());
  const AveragedBuffers averaged(parts_.step.model(), state_.samples_trained, generation.collective,
                                 deadline());
  parts_.faults.at("validation", state_.step);
  const Totals totals =
      evaluate(parts_.step.model(), parts_.task, *generation.validation, parts_.validation_steps,
               generation.collective, parts_.device, parts_.activity, deadline());
  add_metrics("validation:", totals, epoch);
}

void TrainingLoop::add_metrics(const std::string& prefix, const Totals& totals,
                               std::uint64_t epoch) {
  for (const auto& [name, value] : parts_.task.metrics(totals))
    metrics_.push_back({prefix + name, value, state_.step, epoch});
}

/// An epoch's end that is done again says its metric again.
void TrainingLoop::note_metric(std::uint64_t epoch) {
  if (hyper().early_stopping_metric == "none") return;
  const std::string name = parse_metric_goal(hyper().early_stopping_metric).name;
  state_.metric_by_epoch.resize(epoch + 1, std::nan(""));
  for (const MetricPoint& point : metrics_) {
    if (point.name == name) state_.metric_by_epoch[epoch] = point.value;
  }
}

EarlyStop TrainingLoop::early_stop_now() const {
  if (!at_epoch_end()) return {};
  const std::span<const double> known(state_.metric_by_epoch);
  return early_stop(hyper(),
                    known.first(std::min<std::size_t>(known.size(), state_.closed_epochs)));
}

void TrainingLoop::tell_of_early_stop() {
  const EarlyStop early = early_stop_now();
  if (!early.stop || state_.step >= total_steps_) return;
  parts_.client.notice(fmt::format(
      "stopped early after epoch {} of {}: {} was best in epoch {}, {:.6g}", state_.closed_epochs,
      hyper().epochs, parse_metric_goal(hyper().early_stopping_metric).name, early.best_epoch + 1,
      state_.metric_by_epoch[early.best_epoch]));
}

/// The leader before may have died with these on its way; the coordinator knows what comes twice.
void TrainingLoop::tell_as_new_leader() {
  for (const MetricPoint& point : curve_point_) parts_.client.metric(point);
  if (!last_epoch_) return;
  parts_.client.epoch(*last_epoch_);
  tell_epoch_metrics();
}

/// After each step: a point of the curves, where one is due. All ranks keep it, as any may lead
/// next.
void TrainingLoop::tell_curve_point(std::uint64_t epoch) {
  curve_step_ = state_.step;
  const auto point = curve_.point(state_.step, at_epoch_end(), state_.tally, Clock::now());
  if (!point) return;
  curve_point_ = {{kCurves[0], point->loss, state_.step, epoch},
                  {kCurves[1], point->samples_per_second, state_.step, epoch}};
  if (!leads_) return;
  for (const MetricPoint& metric : curve_point_) parts_.client.metric(metric);
}

/// A metric has one value at a step: an epoch's end has that of the curve, where there is one.
void TrainingLoop::tell_epoch_metrics() {
  for (const MetricPoint& point : metrics_) {
    const bool has_curve =
        curve_.every() > 0 && std::ranges::find(kCurves, point.name) != kCurves.end();
    if (!has_curve) parts_.client.metric(point);
  }
}

void TrainingLoop::tell_of_coarser_curves() {
  const std::uint64_t asked = parts_.metrics_every_steps;
  if (!leads_ || curve_.every() == asked) return;
  parts_.client.notice(
      fmt::format("metrics_every_steps: every {} steps, not {}, as the job has {} steps and its "
                  "curves at most {} points",
                  curve_.every(), asked, total_steps_, Curve::kMostPoints));
}

void TrainingLoop::note_recovery(const RecoveryDone& recovery, Clock::time_point noticed) {
  recovery_ = recovery;
  noticed_ = noticed;
}

void TrainingLoop::report(Phase phase) {
  progress_.phase = phase;
  parts_.client.progress(progress_);
}

}  // namespace musher

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trainer/activity.h"
#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/collective.h"
#include "trainer/curve.h"
#include "trainer/early_stopping.h"
#include "trainer/evaluation.h"
#include "trainer/fault.h"
#include "trainer/level.h"
#include "trainer/training_step.h"

namespace musher {

/// What the loop works on for as long as the process lives; all outlive it.
struct LoopParts {
  const Hyperparameters& hyperparameters;
  TrainingStep& step;
  const Task& task;
  CheckpointWriter* checkpoints = nullptr;  ///< null: the job has no place for checkpoints
  CoordinatorClient& client;
  ActivityClock& activity;
  const std::atomic<bool>& stop_signal;  ///< SIGTERM came
  c10::Device device = c10::Device(c10::kCPU);
  std::uint64_t steps_per_epoch = 1;
  std::uint64_t validation_steps = 0;
  std::chrono::seconds step_timeout{600};
  Faults faults;                          ///< of tests
  std::uint64_t metrics_every_steps = 0;  ///< see Curve
};

/// What changes with each generation.
struct LoopGeneration {
  std::uint64_t number = 0;
  Collective& collective;
  Pipeline& input;
  Pipeline* validation = nullptr;  ///< one pass of `validation_steps` an epoch, from the first
                                   ///< epoch that is not closed
  std::string checkpoint_writers;  ///< see CheckpointWriter::save
  /// Of the leader: a newcomer waits to be taken in. Asked at each step.
  std::function<bool()> newcomer_ready;
};

/// Why the loop returned, the same on all ranks, always at a step boundary.
enum class LoopEnd {
  kDone,     ///< after the last step, or stopped early by the metric
  kStopped,  ///< some rank asked for it; checkpoint written where there is a place for it
  kLeaving,  ///< some ranks leave: see wants_to_leave()
  kGrowing,  ///< a newcomer is ready
};

/// Trains from step to step. It can be left by a PeerFailure and entered again in another
/// generation: what it holds is always that of the last committed step. Every epoch ends with its
/// digest reported, a validation pass, metrics and a checkpoint; where a failure cut that off it is
/// done again. One thread.
class TrainingLoop {
 public:
  explicit TrainingLoop(const LoopParts& parts);

  TrainingState& state() { return state_; }
  std::uint64_t steps() const { return total_steps_; }
  /// Of the last closed epoch.
  const std::vector<MetricPoint>& metrics() const { return metrics_; }
  bool stopping() const { return stopping_; }
  bool wants_to_leave() const { return leaving_; }

  /// Call before run() in a new generation, with what all agreed on. `regrouped`: it follows
  /// another.
  void enter(std::uint64_t closed_epochs, bool stopping, bool regrouped);

  /// Throws PeerFailure; Error where the data or the numbers don't allow to go on.
  LoopEnd run(const LoopGeneration& generation);

  /// A failure was noticed: told to the coordinator, as done, with the next committed step.
  void note_recovery(const RecoveryDone& recovery, std::chrono::steady_clock::time_point noticed);
  /// The step that is or was under way, if it has not been committed.
  std::optional<std::uint64_t> step_under_way() const { return under_way_; }

 private:
  const Hyperparameters& hyper() const { return parts_.hyperparameters; }
  Deadline deadline() const { return Deadline::after(parts_.step_timeout); }
  bool at_epoch_end() const { return state_.step % parts_.steps_per_epoch == 0; }
  /// After the last step, or stopped early by the metrics so far.
  bool over() const { return state_.step >= total_steps_ || early_stop_now().stop; }
  EarlyStop early_stop_now() const;
  void note_metric(std::uint64_t epoch);
  void tell_of_early_stop();
  bool checkpoint_due() const;

  void run_step(const LoopGeneration& generation);
  StepVector votes(const Batch& batch, const LoopGeneration& generation);
  void take_in(const Batch& batch, const StepVector& sum);
  void note_optimizer(bool had_samples);
  void close_epoch(const LoopGeneration& generation);
  void validate(const LoopGeneration& generation, std::uint64_t epoch);
  void add_metrics(const std::string& prefix, const Totals& totals, std::uint64_t epoch);
  void save_if_due(const LoopGeneration& generation);
  void tell_step_times(std::uint64_t epoch);
  void report(Phase phase);
  void tell_as_new_leader();
  void tell_curve_point(std::uint64_t epoch);
  void tell_epoch_metrics();
  void tell_of_coarser_curves();

  const LoopParts parts_;
  TrainingState state_;
  std::uint64_t total_steps_ = 0;
  BufferSnapshot buffers_;
  StepVector sum_;  ///< of the last committed step of this generation
  bool stopping_ = false;
  bool leaving_ = false;            ///< this rank has voted to leave
  bool checkpoint_wanted_ = false;  ///< by a step that found the writer busy
  std::optional<std::uint64_t> saved_step_;
  std::optional<std::uint64_t> under_way_;
  bool leads_ = false;
  bool told_ = false;  ///< that it trains
  std::vector<std::string> undecodable_keys_;
  std::optional<EpochResult> last_epoch_;
  std::vector<MetricPoint> metrics_;
  Curve curve_;
  std::optional<std::uint64_t> curve_step_;  ///< that curve_ is at
  std::vector<MetricPoint> curve_point_;     ///< the last one
  Progress progress_;
  std::chrono::steady_clock::time_point epoch_started_;
  std::uint64_t epoch_samples_ = 0;  ///< since epoch_started_, for the rate
  std::uint64_t epoch_steps_ = 0;    ///< likewise
  StepTimes times_before_;           ///< the step's clock at epoch_started_
  double data_seconds_ = 0;          ///< since epoch_started_, waited for
  std::optional<RecoveryDone> recovery_;
  std::chrono::steady_clock::time_point noticed_;
};

}  // namespace musher

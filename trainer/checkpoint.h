#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/thread.h"
#include "dataset/digest.h"
#include "model/model.h"
#include "storage/object_store.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/fault.h"
#include "trainer/optimizer.h"
#include "trainer/state_tensors.h"
#include "trainer/step_vector.h"

namespace musher {

/// Sums over the steps of the epoch under way, the same on every rank.
struct EpochTally {
  Digest digest;
  Digest undecodable;
  double loss_sum = 0;
  Measures measures = {};
};

/// All that a run's future depends on beside the job and the data. With the StateTensors this is
/// the whole state: random choices are functions of (seed, step, rank).
struct TrainingState {
  std::uint64_t step = 0;           ///< committed steps since the job's beginning
  std::uint64_t closed_epochs = 0;  ///< whose end is done: digest reported, validated
  EpochTally tally;
  std::uint64_t samples_trained = 0;  ///< by this rank: the weight of its batch-norm statistics
  /// early_stopping_metric at the end of each closed epoch, NaN where it is not known; empty
  /// without one.
  std::vector<double> metric_by_epoch;
  OptimizerProgress optimizer;  ///< after the last committed step
};

/// What a checkpoint belongs to; one that differs in any of it is refused by name.
struct CheckpointIdentity {
  std::uint64_t model = 0;  ///< model_fingerprint()
  std::uint64_t data = 0;   ///< Manifest::fingerprint() of the train channel
  std::int64_t parameters = 0;
  std::int64_t batch_size = 0;
  std::int64_t virtual_workers = 0;
  std::uint64_t seed = 0;
  std::string optimizer;
  std::uint64_t frozen = 0;  ///< frozen_fingerprint(); 0: all is trained
  bool average = false;      ///< a job without ema_decay takes a checkpoint with an average, though
};

/// A rank's place among those that hold the state: its part is the `slice`-th of `slices`.
struct Slicing {
  int slice = 0;
  int slices = 1;
};

/// Writes this rank's slice of checkpoints beside the training thread: a contiguous part of each
/// flat tensor, and this rank's own ones. The coordinator commits the
/// checkpoint when it has heard of all slices (docs/formats.md). Calls come from one thread.
class CheckpointWriter {
 public:
  /// Both are called on a thread of the writer's own.
  struct Listener {
    std::function<void(const SliceWritten&)> written;  ///< it lies in the store; may throw
    std::function<void(std::string)> failed;           ///< what became of it, in one line
  };

  /// `store` is at the checkpoint URI.
  CheckpointWriter(ObjectStore& store, CheckpointIdentity identity, Listener listener,
                   Faults faults = {});
  ~CheckpointWriter();  ///< waits for the slice under way

  /// Still writing the one before.
  bool busy() const { return busy_; }

  /// Copies this rank's part of the state and returns; the rest happens beside, at a low priority.
  /// Waits first where one is still being written. A slice that can't be written is told to
  /// the listener, no error: the job goes on and the last good one stays. `writers` names those
  /// that write together, "<job>.<attempt>.<generation>": no others may write to the same folder.
  void save(const TrainingState& state, const std::string& writers, Slicing slicing,
            const StateTensors& tensors);

  /// Returns when nothing is being written any more.
  void wait();

 private:
  void write(SliceWritten slice);

  ObjectStore& store_;
  CheckpointIdentity identity_;
  Listener listener_;
  Faults faults_;
  std::vector<std::byte> snapshot_;  ///< the slice's file; the thread's while busy_
  std::atomic<bool> busy_ = false;
  Thread thread_;
};

/// Reads the committed checkpoint below the store's root into `tensors` and the optimizer's
/// progress, whatever the number of ranks that wrote it. With the same number each rank gets its
/// own buffers back, bit for bit; otherwise their mean by samples. kFailedPrecondition naming each
/// point in which it belongs to something else; kDataLoss for a manifest or a slice that is damaged
/// or gone. Nothing is changed unless all slices are right.
TrainingState load_checkpoint(ObjectStore& store, const CheckpointIdentity& identity, Slicing own,
                              const StateTensors& tensors, Optimizer& optimizer);

struct LoadedCheckpoint {
  std::string uri;  ///< the one that was taken
  TrainingState state;
  /// One for each that was passed over since it is damaged: which, and why.
  std::vector<std::string> notices;
};

/// The first of `candidates` (folder URIs, newest first) that is not damaged. kDataLoss naming each
/// of them where none is; any other error at once: a store that can't be reached, or a checkpoint
/// of another training, is no reason to go further back. REQUIRES: candidates are not empty.
LoadedCheckpoint load_newest_checkpoint(const std::vector<std::string>& candidates,
                                        const StorageConfig& storage,
                                        const CheckpointIdentity& identity, Slicing own,
                                        const StateTensors& tensors, Optimizer& optimizer);

}  // namespace musher

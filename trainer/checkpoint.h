#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "common/deadline.h"
#include "dataset/digest.h"
#include "model/model.h"
#include "storage/object_store.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/flat_parameters.h"
#include "trainer/optimizer.h"

namespace musher {

/// Sums over the steps of the epoch under way, the same on every rank.
struct EpochTally {
  Digest digest;
  Digest undecodable;
  double loss_sum = 0;
  std::uint64_t correct = 0;
};

/// All that a run's future depends on beside the job and the data. With the flat buffers and the
/// model's buffers this is the whole state: random choices are functions of (seed, step, rank).
struct TrainingState {
  std::uint64_t step = 0;  ///< committed steps since the job's beginning
  EpochTally tally;
  std::uint64_t samples_trained = 0;  ///< by this rank: the weight of its batch-norm statistics
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
};

/// Writes this rank's slice of checkpoints beside the training thread: a contiguous part of each
/// flat buffer, and the model's buffers as this rank has them. The coordinator commits the
/// checkpoint when it has heard of all slices (docs/formats.md). Calls come from one thread.
class CheckpointWriter {
 public:
  CheckpointWriter(ObjectStore& store, CoordinatorClient& client, CheckpointIdentity identity,
                   std::string attempt_name, int rank, int world_size);
  ~CheckpointWriter();  ///< waits for the slice under way

  /// Still writing the one before.
  bool busy() const { return busy_; }

  /// Copies this rank's part of the state and returns; the rest happens beside. Waits first where
  /// one is still being written. A slice that can't be written is a notice to the coordinator, no
  /// error: the job goes on and the last good one stays.
  void save(const TrainingState& state, const FlatParameters& parameters, Optimizer& optimizer,
            Model& model);

  /// Returns when nothing is being written any more.
  void wait();

 private:
  void write(const std::string& folder, std::uint64_t step, const std::string& header,
             const NamedTensors& tensors, const TrainingState& state);

  ObjectStore& store_;
  CoordinatorClient& client_;
  CheckpointIdentity identity_;
  std::string attempt_name_;
  int rank_;
  int world_size_;
  std::atomic<bool> busy_ = false;
  std::thread thread_;
};

/// Reads the committed checkpoint below the store's root into parameters, optimizer and buffers,
/// whatever the number of ranks that wrote it. With the same number each rank gets its own buffers
/// back, bit for bit; otherwise their mean by samples. kFailedPrecondition naming each point in
/// which it belongs to something else; kDataLoss for a damaged slice. Nothing is changed unless all
/// slices are right.
TrainingState load_checkpoint(ObjectStore& store, const CheckpointIdentity& identity, int rank,
                              int world_size, FlatParameters& parameters, Optimizer& optimizer,
                              Model& model);

}  // namespace musher

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/thread.h"
#include "storage/cached_store.h"
#include "storage/local_cache.h"
#include "storage/object_store.h"
#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/input/pipeline.h"
#include "trainer/input/sample_format.h"

namespace musher {

/// Where data of s3:// is kept on this host, and what is brought there before training.
struct DataOptions {
  std::shared_ptr<LocalCache> cache;  ///< null: nothing is kept
  std::vector<std::string> file_channels;
  /// Of the ranks of this host, each brings a share.
  int part = 0;
  int parts = 1;
};

/// The batches of a rank: the train channel and, where the job has one, validation. A new
/// generation gives this rank other virtual workers, so both are then made anew.
class Inputs {
 public:
  /// Client and format must outlive it. `at_point`: see PipelineOptions.
  Inputs(const Membership& membership, const SampleFormat& format, CoordinatorClient& client,
         const DataOptions& data, const decltype(PipelineOptions::at_point)& at_point = {});
  ~Inputs();  ///< waits for what the pipelines have under way at the store
  Inputs(const Inputs&) = delete;
  Inputs& operator=(const Inputs&) = delete;

  /// InputMode File: brings this rank's share of the channels named in DataOptions to the cache, or
  /// until `stop`. Where they do not fit a notice says so, and they are fetched as training asks.
  /// Throws what the store throws.
  void gather(const std::atomic<bool>& stop);

  /// Pipelines for the client's present generation, from `state` on. What the ones before still
  /// wait for ends beside.
  void rebuild(const TrainingState& state);

  Pipeline& train() { return *train_; }
  Pipeline* validation() { return validation_.get(); }
  std::uint64_t steps_per_epoch() const { return train_options_.steps_per_epoch; }
  std::uint64_t validation_steps() const { return validation_options_.steps_per_epoch; }
  std::uint64_t steps() const { return train_options_.end_step; }

  /// How long no thread of either pipeline has got anywhere. Safe from any thread.
  double silent_seconds() const;

 private:
  void retire(std::unique_ptr<Pipeline>& pipeline);

  /// The channels of DataOptions that are not on this host anyway.
  struct ToGather {
    std::string name;
    std::uint32_t shards = 0;
    std::uint64_t bytes = 0;
    CachedStore* store = nullptr;  ///< null: there is no cache
  };

  std::unique_ptr<ObjectStore> open(const ChannelSummary& channel, const StorageConfig& storage);

  const SampleFormat& format_;
  CoordinatorClient& client_;
  const DataOptions data_;
  std::vector<ToGather> to_gather_;
  std::unique_ptr<ObjectStore> train_store_;
  PipelineOptions train_options_;
  std::unique_ptr<ObjectStore> validation_store_;
  PipelineOptions validation_options_;

  mutable std::mutex mutex_;  ///< of the two pointers, for silent_seconds()
  std::unique_ptr<Pipeline> train_;
  std::unique_ptr<Pipeline> validation_;
  std::vector<Thread> retired_;
};

}  // namespace musher

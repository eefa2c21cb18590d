#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

#include "common/thread.h"
#include "storage/object_store.h"
#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// The batches of a rank: the train channel and, where the job has one, validation. A new
/// generation gives this rank other virtual workers, so both are then made anew.
class Inputs {
 public:
  /// Both must outlive it. `at_point`: see PipelineOptions.
  Inputs(const Membership& membership, CoordinatorClient& client,
         const decltype(PipelineOptions::at_point)& at_point = {});
  ~Inputs();  ///< waits for what the pipelines have under way at the store
  Inputs(const Inputs&) = delete;
  Inputs& operator=(const Inputs&) = delete;

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

  CoordinatorClient& client_;
  std::unique_ptr<ObjectStore> train_store_;
  std::unique_ptr<SampleDecoder> train_decoder_;
  PipelineOptions train_options_;
  std::unique_ptr<ObjectStore> validation_store_;
  std::unique_ptr<SampleDecoder> validation_decoder_;
  PipelineOptions validation_options_;

  mutable std::mutex mutex_;  ///< of the two pointers, for silent_seconds()
  std::unique_ptr<Pipeline> train_;
  std::unique_ptr<Pipeline> validation_;
  std::vector<Thread> retired_;
};

}  // namespace musher

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "common/deadline.h"
#include "dataset/manifest.h"
#include "storage/object_store.h"
#include "trainer/input/batch.h"
#include "trainer/input/mixing.h"

namespace musher {

/// How bytes of a sample become its part of a batch: an array of float32, in which a task finds
/// inputs and targets. Pure; called from several threads at once. `random_key` is a hash of (seed,
/// epoch, sample): the only source of chance.
class SampleDecoder {
 public:
  virtual ~SampleDecoder() = default;
  virtual std::vector<std::int64_t> input_shape() const = 0;
  /// Writes the product of input_shape() floats to `out`. Throws Error(kDataLoss) where the bytes
  /// can't be decoded.
  virtual void decode(const Sample& sample, std::span<const std::byte> bytes,
                      std::uint64_t random_key, float* out) const = 0;
};

/// Where the pipeline learns what to read; calls block and come from one thread.
struct PlanSource {
  /// This rank's virtual workers in an epoch, ascending, with their runs.
  std::function<std::vector<VirtualWorkerRuns>(std::uint64_t epoch)> runs;
  /// The samples of shards, in the order asked for.
  std::function<std::vector<std::vector<Sample>>(std::vector<std::uint32_t> shards)> shards;
};

struct PipelineOptions {
  DealOptions deal;                              ///< seed, V, window, shuffle; `epoch` is ignored
  std::uint64_t samples_per_virtual_worker = 1;  ///< B / V, a step
  std::uint64_t steps_per_epoch = 1;
  std::uint64_t first_step = 0;  ///< since the job's beginning
  std::uint64_t end_step = 0;    ///< one past the last
  std::int64_t classes =
      0;           ///< a label outside [0, classes) is an Error(kInvalidArgument) naming the sample
  MixOptions mix;  ///< of the samples of one virtual worker in one step
  std::size_t threads = 1;        ///< that decode
  std::size_t fetch_threads = 4;  ///< that wait for the store
  std::uint64_t prefetch_bytes =
      256 << 20;  ///< of fetched but undecoded chunks and finished batches together
  /// A call of the store or the source under way is a sign of life for that long: it has time
  /// limits of its own.
  std::chrono::milliseconds longest_call{300'000};
  /// Where set, called by the threads before they "fetch" and "decode" for a step, counted from 1:
  /// tests make them die or hang there.
  std::function<void(std::string_view point, std::uint64_t step)> at_point;
};

/// Fetches, decodes and batches the samples of one rank in threads beside the caller, ahead of it
/// and in order, bounded in bytes. Objects are read in ranges of some MiB that hold many samples
/// and are kept until those are used, so a tar is never read sample by sample. The batches are a
/// pure function of (manifest, options, virtual workers): not of threads or timing.
class Pipeline {
 public:
  /// `store` and `decoder` must outlive it.
  Pipeline(ObjectStore& store, const SampleDecoder& decoder, PlanSource source,
           PipelineOptions options);
  ~Pipeline();  ///< stops the threads; what was prefetched is dropped

  /// The next batch, steps first_step … end_step-1 in order. Throws what the threads met
  /// (kUnavailable: the store; kInvalidArgument: a label), kDeadlineExceeded when none is ready by
  /// then. REQUIRES: fewer than end_step - first_step calls.
  Batch next(Deadline deadline);

  /// Seconds that next() has waited in all: the input's share of the step.
  double waited_seconds() const;

  /// How long no thread has got anywhere with what next() waits for. Safe from any thread.
  double silent_seconds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

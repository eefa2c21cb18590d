#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataset/deal.h"
#include "dataset/digest.h"

namespace musher {

/// What a rank trains on in one step: the samples of its virtual workers one after another, decoded
/// and transformed. The engine knows shapes, not images or rows: what of `inputs` the model is
/// given and what it is to find is the task's to say (trainer/task.h). Owned by whoever holds it;
/// moved through the pipeline.
struct Batch {
  std::uint64_t step = 0;  ///< since the job's beginning
  std::uint64_t epoch = 0;
  std::vector<float> inputs;              ///< [samples, input_shape…], row-major
  std::vector<std::int64_t> input_shape;  ///< of one sample, e.g. {3, 224, 224}
  std::vector<std::uint64_t> keys;        ///< [samples], hashes that tell samples apart
  std::vector<std::int64_t> targets;      ///< [samples], the manifest's labels: class indexes
  /// Soft targets (MixUp, CutMix): target_shares of `targets`, which is at least a half, and the
  /// rest of other_targets. [samples], or empty where nothing is mixed.
  std::vector<std::int64_t> other_targets;
  std::vector<float> target_shares;
  Digest digest;       ///< of the samples in it
  Digest undecodable;  ///< of the samples that should be in it but can't be decoded
  std::vector<std::string> undecodable_keys;  ///< "<key>: <why>"

  std::int64_t samples() const { return static_cast<std::int64_t>(targets.size()); }
};

/// The runs of one virtual worker in one epoch, as the coordinator assigned them.
struct VirtualWorkerRuns {
  std::uint32_t virtual_worker = 0;
  std::vector<Run> runs;
};

}  // namespace musher

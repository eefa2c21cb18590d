#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/input/pipeline.h"
#include "trainer/input/planner.h"

namespace musher {

/// The making of one batch from the bytes of its samples. Ranges of samples may be decoded by
/// several threads at once; what comes out does not depend on how they share the work.
class BatchWork {
 public:
  /// `decoder` must outlive it.
  BatchWork(StepPlan plan, const SampleDecoder& decoder, std::uint64_t seed, MixOptions mix = {});

  const StepPlan& plan() const { return plan_; }
  std::size_t samples() const { return plan_.samples.size(); }
  std::uint64_t input_bytes() const { return samples() * floats_ * sizeof(float); }

  /// Makes room; before the first decode().
  void allocate();

  /// Samples [begin, end), whose chunks are ready. Notes those that can't be decoded, and frees the
  /// bytes; returns how many these were. Throws what else the decoder throws. Thread-safe for
  /// ranges that do not overlap.
  std::uint64_t decode(std::size_t begin, std::size_t end);

  /// The batch, without the samples that can't be decoded, mixed within each virtual worker's part
  /// by chance that hangs on (seed, step, virtual worker) alone. Once, after all samples are
  /// decoded.
  Batch finish();

 private:
  void mix_parts(Batch& batch) const;

  StepPlan plan_;
  const SampleDecoder& decoder_;
  std::uint64_t seed_;
  MixOptions mix_;
  std::vector<std::int64_t> shape_;
  std::size_t floats_ = 1;  ///< of one sample
  std::vector<float> inputs_;
  std::vector<std::optional<std::string>> failures_;  ///< [samples], empty where decoded
};

}  // namespace musher

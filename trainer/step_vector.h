#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataset/digest.h"

namespace musher {

/// Sums over samples that a task keeps beside its loss (trainer/task.h); what it does not use is 0.
using Measures = std::array<double, 8>;

/// What every step tells beside its gradient. It rides in the tail of the gradient buffer, so that
/// the same all-reduce sums it over ranks: a step needs no other collective. Counts and digest
/// pieces are small whole numbers, which float32 adds exactly.
struct StepVector {
  static constexpr std::int64_t kElements = 32;  ///< float32, two cache lines
  static constexpr std::int64_t kSamples = 0;    ///< places that the engine reads on the device
  static constexpr std::int64_t kLoss = 1;
  static constexpr std::int64_t kMeasures = 2;  ///< kMostMeasures of them
  static constexpr std::int64_t kMostMeasures = std::tuple_size_v<Measures>;

  Digest digest;       ///< of the samples trained on
  Digest undecodable;  ///< of those that could not be decoded
  double loss_sum = 0;
  Measures measures = {};
  // Votes: how many ranks want it. All ranks see the same sum and so act at the same step.
  int stop = 0;             ///< end after this step
  int checkpoint = 0;       ///< save after this step
  int checkpoint_busy = 0;  ///< still writing the one before: none can be started now
  int leave = 0;            ///< go, after this step
  int newcomer = 0;         ///< one waits to be taken in, after this step

  /// All but loss_sum and measures, which the engine writes on the device. `out` has kElements.
  void write(std::span<float> out) const;
  static StepVector read(std::span<const float> reduced);
};

}  // namespace musher

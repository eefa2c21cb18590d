#pragma once

#include <cstdint>
#include <vector>

#include "common/random.h"
#include "trainer/input/batch.h"

namespace musher {

/// A batch of `samples` samples of `shape` held in memory: inputs uniform in [-1, 1], classes below
/// `classes`, another one for each rank.
inline Batch synthetic_batch(const std::vector<std::int64_t>& shape, std::int64_t samples,
                             std::int64_t classes, int rank) {
  Batch batch;
  batch.input_shape = shape;
  Random random{static_cast<std::uint64_t>(rank)};
  std::int64_t numbers = samples;
  for (const std::int64_t extent : shape) numbers *= extent;
  for (std::int64_t i = 0; i < numbers; ++i)
    batch.inputs.push_back(static_cast<float>(random.uniform(-1, 1)));
  for (std::int64_t i = 0; i < samples; ++i) {
    batch.targets.push_back(
        static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(classes))));
    batch.digest.add(random.next(), 0);
  }
  return batch;
}

}  // namespace musher

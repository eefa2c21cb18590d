#pragma once

#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "trainer/input/batch.h"

namespace musher {

/// Two samples, all zeros, of the shape that the task's decoder makes: for trying what a user
/// brings before there is any data.
inline Batch trial_batch(const std::vector<std::int64_t>& input_shape) {
  Batch batch;
  batch.input_shape = input_shape;
  batch.targets = {0, 0};
  const auto numbers =
      std::accumulate(input_shape.begin(), input_shape.end(), std::int64_t{2}, std::multiplies<>());
  batch.inputs.resize(static_cast<std::size_t>(numbers));
  return batch;
}

}  // namespace musher

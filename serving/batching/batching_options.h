#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace musher {

/// How requests are put together, under the names of TensorFlow Serving and Triton.
struct BatchingOptions {
  std::size_t max_batch_size = 32;
  /// How long the oldest request waits for others to come. 0: what is there runs.
  std::chrono::microseconds max_batch_delay{2'000};
  /// Sizes that run well, ascending: as many requests as one of them run at once, without a wait.
  std::vector<std::size_t> preferred_sizes;
  std::size_t max_queued = 256;  ///< requests that wait; the next one is turned away
};

/// kInvalidArgument naming the option.
void check(const BatchingOptions& options);

}  // namespace musher

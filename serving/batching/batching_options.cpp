#include "serving/batching/batching_options.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {

void check(const BatchingOptions& options) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidArgument, message);
  };
  if (options.max_batch_size < 1) refuse("max_batch_size must be at least 1");
  if (options.max_batch_delay.count() < 0) refuse("max_batch_delay must not be negative");
  if (options.max_queued < options.max_batch_size) {
    refuse(fmt::format("max_queued must be at least max_batch_size, {}, not {}",
                       options.max_batch_size, options.max_queued));
  }
  const auto& sizes = options.preferred_sizes;
  const bool ascending =
      std::ranges::is_sorted(sizes) && std::ranges::adjacent_find(sizes) == sizes.end();
  if (!ascending ||
      (!sizes.empty() && (sizes.front() < 1 || sizes.back() > options.max_batch_size))) {
    refuse(fmt::format("preferred_sizes must ascend, from 1 to max_batch_size, {}",
                       options.max_batch_size));
  }
}

}  // namespace musher

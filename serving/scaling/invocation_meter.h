#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "serving/scaling/target_tracking.h"

namespace musher {

/// Invocations in periods, as CloudWatch counts them: each one adds 1 / instances to the metric of
/// its period; a period without invocations is 0, not missing. Not thread-safe.
class InvocationMeter {
 public:
  /// Keeps the last `kept` whole periods.
  InvocationMeter(ScalingTime start, std::chrono::milliseconds period, std::size_t kept)
      : period_(period), kept_(kept), begin_(start) {}

  /// `count` invocations at `now`. Times do not go back.
  void add(ScalingTime now, double count, int instances);
  /// The period under way is missing from the data: somebody who counts could not be asked.
  void miss(ScalingTime now);

  /// The whole periods until `now`, the newest last.
  std::vector<std::optional<Datapoint>> recent(ScalingTime now);

  /// When the period under way ends.
  ScalingTime period_end() const { return begin_ + period_; }

 private:
  void advance(ScalingTime now);

  std::chrono::milliseconds period_;
  std::size_t kept_;
  ScalingTime begin_;  ///< of the period under way
  std::optional<Datapoint> present_ = Datapoint{};
  std::deque<std::optional<Datapoint>> whole_;
};

}  // namespace musher

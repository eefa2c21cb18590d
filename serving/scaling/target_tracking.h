#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

/// Target tracking on SageMakerVariantInvocationsPerInstance as Application Auto Scaling does it
/// for a SageMaker variant: two alarms over the metric, a capacity in proportion, cooldowns.
/// https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
/// AWS does not publish the formula of the capacity; this one is what its pages describe.
namespace musher {

/// Of the same clock throughout.
using ScalingTime = std::chrono::steady_clock::time_point;

struct ScalingPolicy {
  int min_capacity = 1;
  int max_capacity = 4;
  double target = 70;  ///< invocations per instance and period
  std::chrono::milliseconds period{60'000};
  int out_periods = 3;  ///< in a row above the target: out
  int in_periods = 15;  ///< in a row below in_factor × target: in
  double in_factor = 0.9;
  std::chrono::milliseconds out_cooldown{300'000};
  std::chrono::milliseconds in_cooldown{300'000};
  bool disable_scale_in = false;
};

/// kInvalidArgument naming the member.
void check(const ScalingPolicy& policy);

/// One period of the metric.
struct Datapoint {
  double per_instance = 0;  ///< the sum over invocations of 1 / instances at the time
  double total = 0;         ///< invocations
};

struct ScalingState {
  int capacity = 1;
  std::optional<ScalingTime> scaled_out;  ///< the last time, as far as its cooldown lasts
  std::optional<ScalingTime> scaled_in;
};

/// What came of one look at the metric. Under AWS's names where it has them.
struct ScalingDecision {
  int capacity = 1;         ///< as it should be from now on
  std::string description;  ///< "Setting desired instance count to 3."; empty: nothing changed
  std::string cause;        ///< which alarm, with its numbers; empty: no alarm
  std::string not_scaled;   ///< an alarm that changed nothing: AlreadyAtMaxCapacity,
                            ///< AlreadyAtMinCapacity, AutoScalingAnticipatedFlapping, Cooldown,
                            ///< ScaleInDisabled, AlreadyAtDesiredCapacity
};

/// A pure function, to be called once at the end of each period. `recent`: the last datapoints, the
/// newest last, empty where there is no data (an instance did not report): an alarm over such a one
/// has insufficient data and does nothing. `state` becomes the new one.
///
/// Out: ceil(total / target), at once and as far as it needs, also during the cooldown of an
/// earlier one where it is more than that brought. In: the least capacity that would have borne
/// every period of the alarm's window; not within the cooldown of either direction.
ScalingDecision decide_capacity(const ScalingPolicy& policy, ScalingState& state, ScalingTime now,
                                const std::vector<std::optional<Datapoint>>& recent);

}  // namespace musher

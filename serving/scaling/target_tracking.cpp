#include "serving/scaling/target_tracking.h"

#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

using Recent = std::span<const std::optional<Datapoint>>;

/// The last `count`; empty where one of them is not there.
Recent window(const std::vector<std::optional<Datapoint>>& recent, int count) {
  const auto wanted = static_cast<std::size_t>(count);
  if (recent.size() < wanted) return {};
  const Recent last = Recent(recent).last(wanted);
  if (!std::ranges::all_of(last, [](const auto& point) { return point.has_value(); })) return {};
  return last;
}

template <typename Condition>
bool alarm(Recent window, Condition condition) {
  return !window.empty() && std::ranges::all_of(window, [&](const auto& point) {
    return condition(point->per_instance);
  });
}

/// The least capacity at which the metric would not exceed the target.
int capacity_for(const ScalingPolicy& policy, double total) {
  const double wanted = std::ceil(total / policy.target);
  return static_cast<int>(std::clamp<double>(wanted, policy.min_capacity, policy.max_capacity));
}

bool within(std::optional<ScalingTime> since, std::chrono::milliseconds cooldown, ScalingTime now) {
  return since && now - *since < cooldown;
}

void set_capacity(ScalingState& state, ScalingDecision& decision, int capacity) {
  decision.description = fmt::format("Setting desired instance count to {}.", capacity);
  decision.capacity = capacity;
  state.capacity = capacity;
}

void scale_out(const ScalingPolicy& policy, ScalingState& state, ScalingTime now, Recent window,
               ScalingDecision& decision) {
  decision.cause = fmt::format(
      "AlarmHigh: InvocationsPerInstance > {:g} for {} datapoints within {} periods, the last {:g}",
      policy.target, policy.out_periods, policy.out_periods, window.back()->per_instance);
  if (state.capacity >= policy.max_capacity) {
    decision.not_scaled = "AlreadyAtMaxCapacity";
    return;
  }
  // The invocations of all instances: right also while those that were added do not yet answer.
  const int wanted = capacity_for(policy, window.back()->total);
  if (wanted <= state.capacity) {
    decision.not_scaled = within(state.scaled_out, policy.out_cooldown, now)
                              ? "Cooldown"
                              : "AlreadyAtDesiredCapacity";
    return;
  }
  set_capacity(state, decision, wanted);
  state.scaled_out = now;
  state.scaled_in.reset();  // a scale-out ends the cooldown of a scale-in
}

void scale_in(const ScalingPolicy& policy, ScalingState& state, ScalingTime now, Recent window,
              ScalingDecision& decision) {
  decision.cause = fmt::format(
      "AlarmLow: InvocationsPerInstance < {:g} for {} datapoints within {} periods, the last {:g}",
      policy.in_factor * policy.target, policy.in_periods, policy.in_periods,
      window.back()->per_instance);
  if (policy.disable_scale_in) {
    decision.not_scaled = "ScaleInDisabled";
    return;
  }
  if (state.capacity <= policy.min_capacity) {
    decision.not_scaled = "AlreadyAtMinCapacity";
    return;
  }
  if (within(state.scaled_in, policy.in_cooldown, now) ||
      within(state.scaled_out, policy.out_cooldown, now)) {
    decision.not_scaled = "Cooldown";
    return;
  }
  const auto busiest = std::ranges::max_element(
      window, {}, [](const std::optional<Datapoint>& point) { return point->total; });
  const int wanted = capacity_for(policy, (*busiest)->total);
  if (wanted >= state.capacity) {  // it would have to come back
    decision.not_scaled = "AutoScalingAnticipatedFlapping";
    return;
  }
  set_capacity(state, decision, wanted);
  state.scaled_in = now;
}

}  // namespace

void check(const ScalingPolicy& policy) {
  const auto require = [](bool good, const std::string& message) {
    if (!good) throw Error(ErrorCode::kInvalidArgument, message);
  };
  require(policy.min_capacity >= 1,
          fmt::format("min must be at least 1, not {}", policy.min_capacity));
  require(policy.max_capacity >= policy.min_capacity,
          fmt::format("max must be at least min, {}, not {}", policy.min_capacity,
                      policy.max_capacity));
  require(policy.target > 0 && std::isfinite(policy.target),
          fmt::format("target must be above 0, not {}", policy.target));
  require(policy.period.count() > 0, "period must be above 0");
  require(policy.out_periods >= 1 && policy.in_periods >= 1,
          "out_periods and in_periods must be at least 1");
  require(policy.in_factor > 0 && policy.in_factor < 1, "in_factor must be between 0 and 1");
  require(policy.out_cooldown.count() >= 0 && policy.in_cooldown.count() >= 0,
          "cooldowns must not be negative");
}

ScalingDecision decide_capacity(const ScalingPolicy& policy, ScalingState& state, ScalingTime now,
                                const std::vector<std::optional<Datapoint>>& recent) {
  ScalingDecision decision;
  decision.capacity = state.capacity;
  const int allowed = std::clamp(state.capacity, policy.min_capacity, policy.max_capacity);
  if (allowed != state.capacity) {
    decision.cause =
        fmt::format("capacity must be from {} to {}", policy.min_capacity, policy.max_capacity);
    set_capacity(state, decision, allowed);
    return decision;
  }
  const Recent high = window(recent, policy.out_periods);
  if (alarm(high, [&](double metric) { return metric > policy.target; })) {
    scale_out(policy, state, now, high, decision);
    return decision;
  }
  const Recent low = window(recent, policy.in_periods);
  if (alarm(low, [&](double metric) { return metric < policy.in_factor * policy.target; })) {
    scale_in(policy, state, now, low, decision);
  }
  return decision;
}

}  // namespace musher

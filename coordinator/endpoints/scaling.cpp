// How many instances: HAProxy's count of requests, a period after the other, to serving/scaling.

#include <algorithm>
#include <utility>

#include "coordinator/endpoints/controller.h"
#include "coordinator/endpoints/settings.h"
#include "coordinator/lifecycle.h"

namespace musher {
namespace {

using Clock = ScalingTime::clock;

std::optional<ScalingTime> steady_of(std::int64_t wall_ms, std::int64_t now_wall_ms,
                                     ScalingTime now) {
  if (wall_ms == 0) return std::nullopt;
  return now - std::chrono::milliseconds(std::max<std::int64_t>(0, now_wall_ms - wall_ms));
}

std::int64_t wall_of(const std::optional<ScalingTime>& time, std::int64_t now_wall_ms,
                     ScalingTime now) {
  if (!time) return 0;
  return now_wall_ms - std::chrono::duration_cast<std::chrono::milliseconds>(now - *time).count();
}

/// What a person would want to see in the list of activities: that more load than there may be
/// instances came, and what was put off. An endpoint at rest is no news.
bool worth_telling(const std::string& not_scaled) {
  return !not_scaled.empty() && not_scaled != "AlreadyAtMinCapacity" &&
         not_scaled != "AlreadyAtDesiredCapacity";
}

}  // namespace

void EndpointController::scale(v1::EndpointRecord& record, const std::optional<ProxyStats>& stats) {
  const ScalingTime now = Clock::now();
  const ScalingPolicy policy = policy_of(record.settings());
  if (!meter_ || metered_ != policy.period) {
    meter_.emplace(now, policy.period, kMostPeriods);
    metered_ = policy.period;
  }
  if (now >= meter_->period_end()) decide(record, now);
  if (!stats) {
    meter_->miss(now);
    return;
  }
  // Requests that came while nobody looked are of no known period; a HAProxy that was started again
  // counts from 0.
  const std::uint64_t before = std::exchange(counted_, stats->requests).value_or(stats->requests);
  const std::uint64_t came = stats->requests - std::min(before, stats->requests);
  meter_->add(now, static_cast<double>(came),
              count(record, record.revision(), v1::EndpointInstance::InService));
}

void EndpointController::decide(v1::EndpointRecord& record, ScalingTime now) {
  const auto recent = meter_->recent(now);
  if (record.status() != v1::EndpointStatus::InService) return;
  const std::int64_t wall = wall_now().time_since_epoch().count();
  ScalingState state{record.desired(), steady_of(record.scaled_out_ms(), wall, now),
                     steady_of(record.scaled_in_ms(), wall, now)};
  const ScalingDecision decision =
      decide_capacity(policy_of(record.settings()), state, now, recent);
  v1::ScalingActivity activity;
  activity.set_cause(decision.cause);
  if (!decision.description.empty()) {
    record.set_desired(decision.capacity);
    record.set_scaled_out_ms(wall_of(state.scaled_out, wall, now));
    record.set_scaled_in_ms(wall_of(state.scaled_in, wall, now));
    save(record);
    activity.set_description(decision.description);
    activity.set_status_code("Successful");
    tell(activity);
    not_scaled_.clear();
  } else if (std::exchange(not_scaled_, decision.not_scaled) != decision.not_scaled &&
             worth_telling(decision.not_scaled)) {
    activity.set_not_scaled(decision.not_scaled);
    tell(activity);
  }
}

}  // namespace musher

#pragma once

#include <string>

#include "endpoints.pb.h"
#include "serving/scaling/target_tracking.h"

namespace musher {

/// Of the metric, that an alarm may look at.
inline constexpr int kMostPeriods = 1'440;

/// `given` with the defaults for what it leaves out.
v1::EndpointSettings with_defaults(const v1::EndpointSettings& given);

/// `old` with what `given` has.
v1::EndpointSettings updated(const v1::EndpointSettings& old, const v1::EndpointSettings& given);

/// kInvalidArgument naming the field. REQUIRES: with_defaults().
void check(const std::string& endpoint_name, const v1::EndpointSettings& settings);

/// Whether instances of one are those of the other: else an update needs new ones.
bool same_instances(const v1::EndpointSettings& a, const v1::EndpointSettings& b);

/// REQUIRES: with_defaults().
ScalingPolicy policy_of(const v1::EndpointSettings& settings);

/// arn:aws:sagemaker:REGION:000000000000:endpoint/NAME, the name in lower case as SageMaker has it.
std::string endpoint_arn(const std::string& name, const std::string& region);

}  // namespace musher

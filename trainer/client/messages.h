#pragma once

// Between the plain structs of coordinator_client.h and the messages on the wire.

#include <vector>

#include "trainer/client/coordinator_client.h"
#include "workers.pb.h"

namespace musher {

Membership membership_from(const v1::JoinReply& reply, int world_size);
EpochAssignment assignment_from(const v1::Assignment& reply);

v1::ReportRequest::Phase to_message(Phase phase);
v1::FinishRequest::Outcome to_message(Outcome outcome);
v1::Metric to_message(const MetricPoint& point, std::int64_t time_ms);
v1::EpochReport to_message(const EpochResult& result);
v1::Recovery to_message(const RecoveryDone& recovery);
v1::Interruption to_message(const Interruption& interruption);
void set_activity(v1::ReportRequest& report, const ActivityNow& now);
v1::SliceReport to_message(const SliceWritten& slice);

}  // namespace musher

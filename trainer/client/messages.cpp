#include "trainer/client/messages.h"

#include "common/error.h"
#include "job/request.h"

namespace musher {

namespace {

/// An epoch report names at most this many samples that could not be decoded.
constexpr std::size_t kMostUndecodableKeys = 100;

ChannelSummary summary_from(const v1::ChannelSummary& message) {
  return {message.name(),   message.uri(),         message.samples(), message.bytes(),
          message.shards(), message.fingerprint(), message.window()};
}

}  // namespace

Membership membership_from(const v1::JoinReply& reply, int world_size) {
  Membership membership;
  JobOrErrors job = validate_request(reply.job(), world_size);
  if (!job.job) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "the coordinator sent a job that this trainer does not take: " + to_text(job.errors));
  }
  membership.job = std::move(*job.job);
  membership.generation = reply.generation();
  membership.virtual_worker_rank.assign(reply.virtual_worker_rank().begin(),
                                        reply.virtual_worker_rank().end());
  membership.classes.assign(reply.classes().begin(), reply.classes().end());
  if (reply.channels().empty()) {
    throw Error(ErrorCode::kInternal, "the coordinator's answer to Join names no train channel");
  }
  membership.train = summary_from(reply.channels(0));
  if (reply.channels_size() > 1) membership.validation = summary_from(reply.channels(1));
  membership.resume_candidates = {reply.resume_candidates().begin(),
                                  reply.resume_candidates().end()};
  membership.storage.retry_limit =
      std::chrono::seconds(membership.job.hyperparameters.storage_retry_seconds);
  membership.storage.s3_endpoint = reply.s3_endpoint();
  membership.storage.s3_region = reply.s3_region();
  membership.heartbeat_seconds = reply.heartbeat_seconds();
  return membership;
}

EpochAssignment assignment_from(const v1::Assignment& reply) {
  EpochAssignment assignment;
  assignment.expected = {reply.epoch_samples(), reply.epoch_sum()};
  for (const auto& share : reply.shares()) {
    VirtualWorkerRuns& runs = assignment.shares.emplace_back();
    runs.virtual_worker = share.virtual_worker();
    for (const auto& run : share.runs()) {
      runs.runs.push_back({run.shard(), run.first(), run.count()});
    }
  }
  return assignment;
}

v1::ReportRequest::Phase to_message(Phase phase) {
  switch (phase) {
    case Phase::kStarting:
      return v1::ReportRequest::STARTING;
    case Phase::kLoading:
      return v1::ReportRequest::LOADING;
    case Phase::kTraining:
      return v1::ReportRequest::TRAINING;
    case Phase::kValidating:
      return v1::ReportRequest::VALIDATING;
    case Phase::kSaving:
      return v1::ReportRequest::SAVING;
    case Phase::kUploading:
      return v1::ReportRequest::UPLOADING;
  }
  return v1::ReportRequest::STARTING;
}

v1::FinishRequest::Outcome to_message(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCompleted:
      return v1::FinishRequest::COMPLETED;
    case Outcome::kStopped:
      return v1::FinishRequest::STOPPED;
    case Outcome::kFailed:
      return v1::FinishRequest::FAILED;
    case Outcome::kLeft:
      return v1::FinishRequest::LEFT;
  }
  return v1::FinishRequest::FAILED;
}

v1::Metric to_message(const MetricPoint& point, std::int64_t time_ms) {
  v1::Metric metric;
  metric.set_name(point.name);
  metric.set_value(point.value);
  metric.set_step(point.step);
  metric.set_epoch(point.epoch);
  metric.set_time_ms(time_ms);
  return metric;
}

v1::EpochReport to_message(const EpochResult& result) {
  v1::EpochReport report;
  report.set_epoch(result.epoch);
  report.set_samples(result.digest.samples);
  report.set_sum(result.digest.sum);
  report.set_undecodable_samples(result.undecodable.samples);
  report.set_undecodable_sum(result.undecodable.sum);
  for (std::size_t i = 0; i < result.undecodable_keys.size() && i < kMostUndecodableKeys; ++i) {
    report.add_undecodable_keys(result.undecodable_keys[i]);
  }
  return report;
}

v1::Recovery to_message(const RecoveryDone& recovery) {
  v1::Recovery message;
  message.set_generation(recovery.generation);
  message.set_step(recovery.step);
  message.set_ran_again(recovery.ran_again);
  message.set_seconds(recovery.seconds);
  message.set_regroup_seconds(recovery.regroup_seconds);
  return message;
}

v1::Interruption to_message(const Interruption& interruption) {
  v1::Interruption message;
  message.set_reason(interruption.reason);
  message.set_spot(interruption.spot);
  message.set_host_leaves_ms(interruption.host_leaves_ms);
  return message;
}

void set_activity(v1::ReportRequest& report, const ActivityNow& now) {
  const auto activity = [&] {
    switch (now.activity) {
      case Activity::kUnknown:
        return v1::ReportRequest::UNKNOWN;
      case Activity::kWaitingForData:
        return v1::ReportRequest::WAITING_FOR_DATA;
      case Activity::kComputing:
        return v1::ReportRequest::COMPUTING;
      case Activity::kWaitingForRanks:
        return v1::ReportRequest::WAITING_FOR_RANKS;
      case Activity::kRecovering:
        return v1::ReportRequest::RECOVERING;
    }
    return v1::ReportRequest::UNKNOWN;
  };
  report.set_activity(activity());
  report.set_activity_seconds(now.seconds);
}

v1::SliceReport to_message(const SliceWritten& slice) {
  v1::SliceReport report;
  report.set_checkpoint(slice.checkpoint);
  report.set_step(slice.step);
  report.set_slice(slice.slice);
  report.set_slices(slice.slices);
  report.set_key(slice.key);
  report.set_size(slice.size);
  report.set_checksum(slice.checksum);
  report.set_header(slice.header);
  return report;
}

}  // namespace musher

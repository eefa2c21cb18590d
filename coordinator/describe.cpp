// DescribeTrainingJob's answer, from a job as it is stored.
#include <algorithm>

#include <google/protobuf/util/time_util.h>

#include "coordinator/job_store.h"

namespace musher {
namespace {

using google::protobuf::Timestamp;

constexpr std::size_t kMostFinalMetrics = 40;  // SageMaker's limit

Timestamp timestamp(WallTime time) {
  return google::protobuf::util::TimeUtil::MillisecondsToTimestamp(time.time_since_epoch().count());
}

/// Seconds, at least 1, as SageMaker has them.
std::int32_t seconds(std::chrono::milliseconds time) {
  return static_cast<std::int32_t>(
      std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(time).count()));
}

void describe_request(const v1::CreateTrainingJobRequest& request,
                      v1::DescribeTrainingJobResponse& response) {
  response.set_training_job_name(request.training_job_name());
  response.set_training_job_arn(job_arn(request.training_job_name()));
  *response.mutable_hyper_parameters() = request.hyper_parameters();
  response.set_role_arn(request.role_arn());
  *response.mutable_input_data_config() = request.input_data_config();
  *response.mutable_environment() = request.environment();
  if (request.has_algorithm_specification()) {
    *response.mutable_algorithm_specification() = request.algorithm_specification();
  }
  if (request.has_output_data_config())
    *response.mutable_output_data_config() = request.output_data_config();
  if (request.has_resource_config())
    *response.mutable_resource_config() = request.resource_config();
  if (request.has_stopping_condition())
    *response.mutable_stopping_condition() = request.stopping_condition();
  if (request.has_checkpoint_config())
    *response.mutable_checkpoint_config() = request.checkpoint_config();
  response.set_enable_managed_spot_training(request.enable_managed_spot_training());
  if (request.has_retry_strategy()) *response.mutable_retry_strategy() = request.retry_strategy();
}

void describe_times(const JobState& state, WallTime now,
                    v1::DescribeTrainingJobResponse& response) {
  *response.mutable_creation_time() = timestamp(state.created);
  *response.mutable_last_modified_time() = timestamp(state.modified);
  if (!state.training_start) return;
  *response.mutable_training_start_time() = timestamp(*state.training_start);
  if (state.training_end) *response.mutable_training_end_time() = timestamp(*state.training_end);
  response.set_training_time_in_seconds(
      seconds(state.training_end.value_or(now) - *state.training_start));
  response.set_billable_time_in_seconds(seconds(billable(state, now)));
}

void describe_transitions(const JobState& state, v1::DescribeTrainingJobResponse& response) {
  for (const Transition& transition : state.transitions) {
    v1::SecondaryStatusTransition& line = *response.add_secondary_status_transitions();
    line.set_status(transition.status);
    *line.mutable_start_time() = timestamp(transition.start);
    if (transition.end) *line.mutable_end_time() = timestamp(*transition.end);
    line.set_status_message(transition.message);
  }
}

}  // namespace

std::string job_arn(const std::string& name) {
  return "arn:aws:sagemaker:local:000000000000:training-job/" + name;
}

v1::DescribeTrainingJobResponse describe(const JobRecord& job, WallTime now) {
  v1::DescribeTrainingJobResponse response;
  describe_request(job.request, response);
  const JobState& state = job.state;
  response.set_training_job_status(state.status);
  response.set_secondary_status(state.secondary);
  response.set_failure_reason(state.status == Status::Failed ? state.failure : "");
  if (state.over() && !state.artifact.empty()) {
    response.mutable_model_artifacts()->set_s3_model_artifacts(state.artifact);
  }
  describe_times(state, now, response);
  describe_transitions(state, response);
  for (const v1::Metric& metric : job.final_metrics) {
    if (static_cast<std::size_t>(response.final_metric_data_list_size()) == kMostFinalMetrics)
      break;
    v1::MetricData& data = *response.add_final_metric_data_list();
    data.set_metric_name(metric.name());
    data.set_value(static_cast<float>(metric.value()));
    *data.mutable_timestamp() =
        google::protobuf::util::TimeUtil::MillisecondsToTimestamp(metric.time_ms());
  }
  return response;
}

}  // namespace musher

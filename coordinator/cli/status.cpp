// musher status

#include <iostream>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/cli/one_job.h"
#include "coordinator/grpc_status.h"
#include "coordinator/progress_printer.h"
#include "job/request.h"

namespace musher::cli {

namespace {

v1::JobProgress ask(Connection& connection, const std::string& name) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::WatchRequest request;
  request.set_training_job_name(name);
  request.set_once(true);
  const auto stream = connection.stub().Watch(&context, request);
  v1::JobProgress progress;
  stream->Read(&progress);
  connection.check(stream->Finish());
  return progress;
}

void print(const v1::JobProgress& progress) {
  const auto& job = progress.job();
  const auto field = [](const char* name, const std::string& value) {
    if (!value.empty()) std::cout << fmt::format("{:<10}{}\n", name, value);
  };
  field("job", job.training_job_name());
  field("status", v1::TrainingJobStatus::Value_Name(job.training_job_status()) + " (" +
                      v1::SecondaryStatus::Value_Name(job.secondary_status()) + ")");
  field("reason", job.failure_reason());
  if (progress.queue_position() > 0) field("queue", std::to_string(progress.queue_position()));
  field("ranks", std::to_string(progress.ranks()));
  if (progress.attempt() > 0) field("attempt", std::to_string(progress.attempt()));
  if (progress.step() > 0) field("progress", progress_line(progress));
  for (const auto& metric : job.final_metric_data_list()) {
    field("metric", fmt::format("{} {:.5g}", metric.metric_name(), metric.value()));
  }
  for (const auto& tag : progress.tags()) field("tag", tag.key() + " = " + tag.value());
  field("artifact", job.model_artifacts().s3_model_artifacts());
  for (const auto& transition : job.secondary_status_transitions()) {
    field("history", google::protobuf::util::TimeUtil::ToString(transition.start_time()) + " " +
                         v1::SecondaryStatus::Value_Name(transition.status()) + ": " +
                         transition.status_message());
  }
  for (const std::string& notice : progress.notices()) field("notice", notice);
}

int run(const Command& command, const std::vector<std::string>& words) {
  OneJob job;
  bool json = false;
  Options options(command);
  options.add("json", &json, "SageMaker's DescribeTrainingJob answer");
  job.add_to(options);
  if (!options.parse(words)) return kOk;
  Connection connection(job.address);
  if (json) {
    v1::DescribeTrainingJobRequest request;
    request.set_training_job_name(job.name);
    const auto answer = connection.call(&v1::Jobs::Stub::DescribeTrainingJob, request);
    std::cout << to_json(answer).dump(2) << "\n";
  } else {
    print(ask(connection, job.name));
  }
  return kOk;
}

}  // namespace

const Command kStatus = {"status", "JOB", "Show where a job stands.", run};

}  // namespace musher::cli

// musher metrics

#include <iostream>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

using google::protobuf::util::TimeUtil;

/// RFC 4180: a name from MetricDefinitions may hold anything.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

void print(const v1::MetricPoint& point, bool csv) {
  const std::string time = TimeUtil::ToString(point.timestamp());
  if (csv) {
    std::cout << fmt::format("{},{},{},{},{}\n", time, csv_field(point.metric_name()),
                             point.value(), point.epoch() + 1, point.step());
  } else {
    std::cout << fmt::format("{:<24}  {:>5}  {:>8}  {:<24}  {:.6g}\n", time, point.epoch() + 1,
                             point.step(), point.metric_name(), point.value());
  }
}

int run(const Command& command, const std::vector<std::string>& words) {
  OneJob job;
  bool csv = false;
  std::string name;
  Options options(command);
  options.add("csv", &csv, "comma-separated values, with the columns' names first");
  options.add("name", &name, "NAME", "only this metric, e.g. validation:accuracy");
  job.add_to(options);
  if (!options.parse(words)) return kOk;

  Connection connection(job.address);
  grpc::ClientContext context;
  v1::MetricsRequest request;
  request.set_training_job_name(job.name);
  request.set_metric_name(name);
  const auto stream = connection.stub().Metrics(&context, request);
  v1::MetricsChunk chunk;
  bool first = true;
  while (stream->Read(&chunk)) {
    if (std::exchange(first, false)) {
      std::cout << (csv ? std::string("Timestamp,MetricName,Value,Epoch,Step\n")
                        : fmt::format("{:<24}  {:>5}  {:>8}  {:<24}  {}\n", "TIME", "EPOCH", "STEP",
                                      "NAME", "VALUE"));
    }
    for (const auto& point : chunk.points()) print(point, csv);
  }
  connection.check(stream->Finish());
  return kOk;
}

}  // namespace

const Command kMetrics = {
    "metrics", "JOB",
    "Print a job's metrics over time, under SageMaker's names: those that Musher measures, and "
    "those of the job's MetricDefinitions.",
    run};

}  // namespace musher::cli

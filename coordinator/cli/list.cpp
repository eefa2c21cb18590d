// musher list

#include <array>
#include <iostream>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/cli/command.h"
#include "coordinator/cli/connection.h"
#include "job/request.h"

namespace musher::cli {

namespace {

/// `value` as one of an enum's names, or an error that lists them.
template <typename Enum, typename Parse>
Enum parse_enum(const char* flag, const std::string& value, Parse parse, const char* choices) {
  Enum result;
  if (parse(value, &result)) return result;
  throw Error(ErrorCode::kInvalidArgument, fmt::format("--{} must be one of {}", flag, choices));
}

google::protobuf::Timestamp parse_time(const char* flag, const std::string& text) {
  google::protobuf::Timestamp time;
  if (google::protobuf::util::TimeUtil::FromString(text, &time)) return time;
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("--{} must be a time such as 2026-01-31T08:00:00Z, not \"{}\"", flag, text));
}

void print_table(const v1::ListTrainingJobsResponse& jobs) {
  std::size_t width = 4;
  for (const auto& job : jobs.training_job_summaries()) {
    width = std::max(width, job.training_job_name().size());
  }
  std::cout << fmt::format("{:<{}}  {:<10}  {:<18}  {}\n", "NAME", width, "STATUS", "SECONDARY",
                           "CREATED");
  for (const auto& job : jobs.training_job_summaries()) {
    std::cout << fmt::format("{:<{}}  {:<10}  {:<18}  {}\n", job.training_job_name(), width,
                             v1::TrainingJobStatus::Value_Name(job.training_job_status()),
                             v1::SecondaryStatus::Value_Name(job.secondary_status()),
                             google::protobuf::util::TimeUtil::ToString(job.creation_time()));
  }
}

int run(const Command& command, const std::vector<std::string>& words) {
  CoordinatorAddress address;
  std::string status;
  std::string sort_by;
  std::string sort_order;
  bool json = false;
  v1::ListTrainingJobsRequest request;
  std::optional<int> most;
  std::optional<std::string> contains;
  std::optional<std::string> token;
  std::array<std::string, 4> times;  // in the order of the options below
  Options options(command);
  options.add("status", &status, "STATUS",
              "only jobs that are InProgress, Completed, Failed, Stopping or Stopped");
  options.add("name-contains", &contains, "TEXT", "only jobs with this in their name");
  options.add("sort-by", &sort_by, "KEY", "Name, CreationTime (the default) or Status");
  options.add("sort-order", &sort_order, "ORDER", "Ascending or Descending");
  options.add("created-after", &times[0], "TIME", "2026-01-31T08:00:00Z, in UTC");
  options.add("created-before", &times[1], "TIME", "likewise");
  options.add("modified-after", &times[2], "TIME", "by LastModifiedTime");
  options.add("modified-before", &times[3], "TIME", "likewise");
  options.add("max-results", &most, "N", "one page of at most N jobs; otherwise all are listed");
  options.add("next-token", &token, "TOKEN",
              "go on where the page of which this is the NextToken ended");
  options.add("json", &json, "SageMaker's ListTrainingJobs answer");
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;

  if (!status.empty()) {
    request.set_status_equals(parse_enum<v1::TrainingJobStatus::Value>(
        "status", status, v1::TrainingJobStatus::Value_Parse,
        "InProgress, Completed, Failed, Stopping, Stopped"));
  }
  if (!sort_by.empty()) {
    request.set_sort_by(
        parse_enum<v1::SortBy>("sort-by", sort_by, v1::SortBy_Parse, "Name, CreationTime, Status"));
  }
  if (!sort_order.empty()) {
    request.set_sort_order(parse_enum<v1::ListTrainingJobsRequest::SortOrder>(
        "sort-order", sort_order, v1::ListTrainingJobsRequest::SortOrder_Parse,
        "Ascending, Descending"));
  }
  if (!times[0].empty())
    *request.mutable_creation_time_after() = parse_time("created-after", times[0]);
  if (!times[1].empty())
    *request.mutable_creation_time_before() = parse_time("created-before", times[1]);
  if (!times[2].empty())
    *request.mutable_last_modified_time_after() = parse_time("modified-after", times[2]);
  if (!times[3].empty())
    *request.mutable_last_modified_time_before() = parse_time("modified-before", times[3]);
  if (token) request.set_next_token(*token);
  if (contains) request.set_name_contains(*contains);
  request.set_max_results(most.value_or(100));

  Connection connection(address);
  v1::ListTrainingJobsResponse all;
  do {
    auto page = connection.call(&v1::Jobs::Stub::ListTrainingJobs, request);
    all.mutable_training_job_summaries()->MergeFrom(page.training_job_summaries());
    all.set_next_token(page.next_token());
    request.set_next_token(page.next_token());
  } while (!most && !all.next_token().empty());
  if (json) {
    auto text = to_json(all);
    if (!text.contains("TrainingJobSummaries")) {
      text["TrainingJobSummaries"] = nlohmann::ordered_json::array();
    }
    std::cout << text.dump(2) << "\n";
  } else {
    print_table(all);
  }
  return kOk;
}

}  // namespace

const Command kList = {"list", "", "List jobs.", run};

}  // namespace musher::cli

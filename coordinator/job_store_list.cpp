// ListTrainingJobs: filters, order and pages.
#include <algorithm>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "coordinator/job_store_impl.h"
#include "job/limits.h"

namespace musher {
namespace {

using google::protobuf::Timestamp;
using google::protobuf::util::TimeUtil;
using sqlite::Statement;

constexpr int kMostResults = 100;

[[noreturn]] void reject(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

/// A whole number of milliseconds, with what is below one dropped.
std::int64_t floor_ms(const Timestamp& time) {
  return time.seconds() * 1000 + time.nanos() / 1'000'000;
}

std::int64_t ceil_ms(const Timestamp& time) {
  return floor_ms(time) + (time.nanos() % 1'000'000 != 0 ? 1 : 0);
}

/// `number` came over the wire, where an enum may hold any.
void check_enum(const char* field, const google::protobuf::EnumDescriptor& type, int number) {
  if (type.FindValueByNumber(number) == nullptr) {
    reject(fmt::format("{}: must be one of {}, not an enum value of number {}", field,
                       enum_choices(type), number));
  }
}

void check(const v1::ListTrainingJobsRequest& request) {
  check_enum("StatusEquals", *v1::TrainingJobStatus::Value_descriptor(), request.status_equals());
  check_enum("SortBy", *v1::SortBy_descriptor(), request.sort_by());
  check_enum("SortOrder", *v1::ListTrainingJobsRequest::SortOrder_descriptor(),
             request.sort_order());
  if (!request.warm_pool_status_equals().empty()) {
    reject("WarmPoolStatusEquals: there are no warm pools; leave it out");
  }
  if (!request.training_plan_arn_equals().empty()) {
    reject("TrainingPlanArnEquals: there are no training plans; leave it out");
  }
  if (request.max_results() < 0 || request.max_results() > kMostResults) {
    reject(fmt::format("MaxResults: must be 1 to {}, not {}", kMostResults, request.max_results()));
  }
  const std::string& part = request.name_contains();
  const bool plain = std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (part.size() > 63 || !plain) {
    reject("NameContains: must be at most 63 letters, digits and hyphens");
  }
}

/// The column that a request sorts by; ties go by the order of submission.
std::string_view column(v1::SortBy sort) {
  switch (sort) {
    case v1::SortBy::Name:
      return "name";
    case v1::SortBy::Status:
      return "status";
    default:
      return "created";
  }
}

/// Where a page ended: the job that was shown last, by the column it was sorted by.
struct Position {
  std::string column;
  bool descending = false;
  nlohmann::json key;
  std::int64_t id = 0;

  std::string token() const { return nlohmann::json::array({column, descending, key, id}).dump(); }

  static Position parse(const std::string& token) {
    const auto json = nlohmann::json::parse(token, nullptr, false);
    const bool good =
        json.is_array() && json.size() == 4 && json[0].is_string() && json[1].is_boolean() &&
        (json[2].is_string() || json[2].is_number_integer()) && json[3].is_number_integer();
    if (!good) reject("NextToken: is not one that ListTrainingJobs gave out");
    return {json[0].get<std::string>(), json[1].get<bool>(), json[2], json[3].get<std::int64_t>()};
  }
};

/// Fixed pieces of SQL; every value is a parameter.
std::string query(const v1::ListTrainingJobsRequest& request, const std::string& column,
                  bool descending) {
  std::string sql = fmt::format(
      "SELECT id, {}, name, created, training_end, modified, status, secondary FROM jobs WHERE 1",
      column);
  if (request.has_creation_time_after()) sql += " AND created > ?";
  if (request.has_creation_time_before()) sql += " AND created < ?";
  if (request.has_last_modified_time_after()) sql += " AND modified > ?";
  if (request.has_last_modified_time_before()) sql += " AND modified < ?";
  if (!request.name_contains().empty()) sql += " AND instr(name, ?) > 0";
  if (request.status_equals() != Status::UNSPECIFIED) sql += " AND status = ?";
  if (!request.next_token().empty())
    sql += fmt::format(" AND ({}, id) {} (?, ?)", column, descending ? "<" : ">");
  const std::string_view order = descending ? "DESC" : "ASC";
  return sql + fmt::format(" ORDER BY {} {}, id {} LIMIT ?", column, order, order);
}

void bind_filters(Statement& statement, const v1::ListTrainingJobsRequest& request) {
  if (request.has_creation_time_after()) statement.bind(floor_ms(request.creation_time_after()));
  if (request.has_creation_time_before()) statement.bind(ceil_ms(request.creation_time_before()));
  if (request.has_last_modified_time_after())
    statement.bind(floor_ms(request.last_modified_time_after()));
  if (request.has_last_modified_time_before())
    statement.bind(ceil_ms(request.last_modified_time_before()));
  if (!request.name_contains().empty()) statement.bind(request.name_contains());
  if (request.status_equals() != Status::UNSPECIFIED) {
    statement.bind(Status::Value_Name(request.status_equals()));
  }
}

void bind_position(Statement& statement, const v1::ListTrainingJobsRequest& request,
                   const std::string& column, bool descending) {
  if (request.next_token().empty()) return;
  const Position position = Position::parse(request.next_token());
  if (position.column != column || position.descending != descending ||
      position.key.is_number() != (column == "created")) {
    reject("NextToken: comes from a list with another SortBy or SortOrder");
  }
  if (position.key.is_string()) {
    statement.bind(position.key.get<std::string>());
  } else {
    statement.bind(position.key.get<std::int64_t>());
  }
  statement.bind(position.id);
}

/// One row into a summary; returns where it stands.
Position read_row(Statement& row, const std::string& column, bool descending,
                  v1::TrainingJobSummary& summary) {
  Position position{column, descending, nullptr, row.integer()};
  if (column == "created") {
    position.key = row.integer();
  } else {
    position.key = row.text();
  }
  summary.set_training_job_name(row.text());
  summary.set_training_job_arn(job_arn(summary.training_job_name()));
  *summary.mutable_creation_time() = TimeUtil::MillisecondsToTimestamp(row.integer());
  if (const auto end = row.maybe_integer()) {
    *summary.mutable_training_end_time() = TimeUtil::MillisecondsToTimestamp(*end);
  }
  *summary.mutable_last_modified_time() = TimeUtil::MillisecondsToTimestamp(row.integer());
  Status::Value status{};
  Secondary::Value secondary{};
  if (Status::Value_Parse(row.text(), &status)) summary.set_training_job_status(status);
  if (Secondary::Value_Parse(row.text(), &secondary)) summary.set_secondary_status(secondary);
  return position;
}

}  // namespace

std::map<std::string, std::uint64_t> JobStore::count_by_status() {
  const std::lock_guard lock(impl_->mutex);
  Statement row = impl_->database.prepare("SELECT status, COUNT(*) FROM jobs GROUP BY status");
  std::map<std::string, std::uint64_t> counts;
  while (row.step()) {
    std::string status = row.text();
    counts[std::move(status)] = row.unsigned_integer();
  }
  return counts;
}

v1::ListTrainingJobsResponse JobStore::list(const v1::ListTrainingJobsRequest& request) {
  check(request);
  const std::string by(column(request.sort_by()));
  const bool descending = request.sort_order() == v1::ListTrainingJobsRequest::Descending;
  const int limit = request.max_results() == 0 ? kMostResults : request.max_results();

  const std::lock_guard lock(impl_->mutex);
  Statement row = impl_->database.prepare(query(request, by, descending));
  bind_filters(row, request);
  bind_position(row, request, by, descending);
  row.bind(limit + 1);  // one more tells whether there is a next page

  v1::ListTrainingJobsResponse response;
  Position last;
  while (row.step()) {
    if (response.training_job_summaries_size() == limit) {
      response.set_next_token(last.token());
      break;
    }
    last = read_row(row, by, descending, *response.add_training_job_summaries());
  }
  return response;
}

}  // namespace musher

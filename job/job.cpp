#include "job/job.h"

#include <algorithm>
#include <limits>
#include <map>

#include "job/request.h"

namespace musher {
namespace {

bool contains(const std::string& outer, const std::string& inner) {
  return inner.starts_with(outer) &&
         (inner.size() == outer.size() || inner[outer.size()] == '.' || inner[outer.size()] == '[');
}

/// Whether an error of reading already says why this one came about: a field of the wrong type is
/// not also "required".
bool follows(const JobError& error, const std::vector<JobError>& reading) {
  return std::any_of(reading.begin(), reading.end(), [&](const JobError& first) {
    return contains(first.path, error.path) || contains(error.path, first.path);
  });
}

/// Where a path is in the file: its own place, else that of what it is in; at the end where none of
/// it is written.
std::size_t place(std::string path, const std::map<std::string, std::size_t>& order) {
  while (!path.empty()) {
    if (const auto found = order.find(path); found != order.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    path.resize(cut == std::string::npos ? 0 : cut);
  }
  return std::numeric_limits<std::size_t>::max();
}

void sort_by_place(std::vector<JobError>& errors, const std::vector<std::string>& fields) {
  std::map<std::string, std::size_t> order;
  for (std::size_t i = 0; i < fields.size(); ++i) order.emplace(fields[i], i);
  std::stable_sort(errors.begin(), errors.end(), [&](const JobError& a, const JobError& b) {
    return place(a.path, order) < place(b.path, order);
  });
}

}  // namespace

JobOrErrors parse_job(const std::string& json, std::optional<int> workers,
                      const std::string& folder) {
  RequestOrErrors read = request_from_json(json, folder);
  // Text that is no JSON object has no fields to say more about.
  if (!read.errors.empty() && read.order.empty()) return {std::nullopt, std::move(read.errors)};
  JobOrErrors result = validate_request(read.request, workers);
  result.notices.insert(result.notices.begin(), read.notices.begin(), read.notices.end());
  if (read.errors.empty() && result.job) return result;
  std::vector<JobError> errors = read.errors;
  for (const JobError& error : result.errors) {
    if (!follows(error, read.errors)) errors.push_back(error);
  }
  sort_by_place(errors, read.order);
  return {std::nullopt, std::move(errors), std::move(result.notices)};
}

std::string to_text(const std::vector<JobError>& errors) {
  std::string text;
  for (const JobError& error : errors) {
    if (!error.path.empty()) text += error.path + ": ";
    text += error.message + "\n";
  }
  return text;
}

}  // namespace musher

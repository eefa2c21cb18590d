#include "coordinator/job_file.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "job/request.h"

namespace musher {

namespace {

using Json = nlohmann::ordered_json;

/// A name may hold letters, digits and hyphens.
std::string generated_name(const Json& job, std::chrono::system_clock::time_point now) {
  std::string model = "job";
  const Json::json_pointer where("/HyperParameters/model");
  if (job.contains(where) && job.at(where).is_string()) model = job.at(where);
  if (model.find("://") != model.npos) model = std::filesystem::path(model).stem();
  for (char& c : model) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '-';
  }
  model.erase(0, model.find_first_not_of('-'));
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "-%Y%m%d-%H%M%S", &utc);
  return (model.empty() ? "job" : model.substr(0, 40)) + stamp;
}

}  // namespace

std::string with_name(const std::string& text, std::chrono::system_clock::time_point now) {
  Json job = Json::parse(text, nullptr, false);
  if (!job.is_object() || job.contains("TrainingJobName")) return text;
  job["TrainingJobName"] = generated_name(job, now);
  return job.dump(2);
}

JobFile read_job_file(const std::filesystem::path& file, std::optional<int> workers) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || !std::filesystem::is_regular_file(file)) {
    throw Error(ErrorCode::kNotFound, file.string() + " can't be read");
  }
  const std::string json = with_name(text.str(), std::chrono::system_clock::now());
  const std::string folder = std::filesystem::absolute(file).parent_path();
  JobOrErrors parsed = parse_job(json, workers, folder);
  if (!parsed.job) {
    std::string lines;
    for (const JobError& error : parsed.errors) {
      if (!lines.empty()) lines += '\n';
      lines += file.string() + ": " + to_text({error});
      lines.pop_back();  // to_text ends the line
    }
    throw Error(ErrorCode::kInvalidArgument, lines);
  }
  return {request_from_json(json, folder).request, std::move(*parsed.job),
          std::move(parsed.notices)};
}

}  // namespace musher

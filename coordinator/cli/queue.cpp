// musher queue

#include <iostream>
#include <map>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/cli/command.h"
#include "coordinator/cli/connection.h"
#include "job/request.h"

namespace musher::cli {

namespace {

std::string time_text(bool there, const google::protobuf::Timestamp& time) {
  if (!there) return "-";
  google::protobuf::Timestamp seconds = time;
  seconds.set_nanos(0);
  return google::protobuf::util::TimeUtil::ToString(seconds);
}

void print_table(const v1::QueueReply& queue) {
  std::size_t name = 4;
  std::size_t submitter = 9;
  for (const auto& job : queue.jobs()) {
    name = std::max(name, job.training_job_name().size());
    submitter = std::max(submitter, job.submitter().size());
  }
  std::cout << fmt::format("{} of {} slots are free\n", queue.free_slots(), queue.slots());
  const std::map<std::string, std::uint64_t> refused(queue.refused_calls().begin(),
                                                     queue.refused_calls().end());
  for (const auto& [what, count] : refused) {
    std::cout << fmt::format("{} calls {} were refused\n", count, what);
  }
  const auto line = [&](const auto& place, const std::string& job, const std::string& who,
                        const auto& priority, const auto& ranks, const std::string& since,
                        const std::string& by, const std::string& note) {
    const std::string text =
        fmt::format("{:>5}  {:<{}}  {:<{}}  {:>8}  {:>5}  {:<20}  {:<20}  {}", place, job, name,
                    who, submitter, priority, ranks, since, by, note);
    std::cout << text.substr(0, text.find_last_not_of(' ') + 1) << "\n";
  };
  line("PLACE", "NAME", "SUBMITTER", "PRIORITY", "RANKS", "SINCE", "BY", "");
  for (const auto& job : queue.jobs()) {
    line(job.position() == 0 ? "runs" : std::to_string(job.position()), job.training_job_name(),
         job.submitter(), job.priority(), job.ranks(), time_text(job.has_since(), job.since()),
         time_text(job.has_by(), job.by()), job.note());
  }
}

int run(const Command& command, const std::vector<std::string>& words) {
  CoordinatorAddress address;
  bool json = false;
  Options options(command);
  options.add("json", &json, "all of it as JSON");
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;
  const auto queue = Connection(address).call(&v1::Jobs::Stub::Queue, v1::QueueRequest());
  if (json) {
    auto text = to_json(queue);
    if (!text.contains("Jobs")) text["Jobs"] = nlohmann::ordered_json::array();
    std::cout << text.dump(2) << "\n";
  } else {
    print_table(queue);
  }
  return kOk;
}

}  // namespace

const Command kQueue = {
    "queue", "",
    "Show what runs and what waits: the order in which jobs are to start, since when each runs or "
    "waits, and by when it ends (or, of the next one, starts) at the latest.",
    run};

}  // namespace musher::cli

// musher watch

#include "coordinator/cli/follow.h"
#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  OneJob job;
  bool json = false;
  Options options(command);
  options.add("json", &json, "the job's description on stdout, progress on stderr");
  job.add_to(options);
  if (!options.parse(words)) return kOk;
  Connection connection(job.address);
  return conclude(follow(connection, job.name, json ? stderr : stdout), json, true);
}

}  // namespace

const Command kWatch = {
    "watch", "JOB",
    "Show a job's progress until it is over. Ctrl-C leaves the job running. The exit code is the "
    "job's: 0 Completed, 1 Failed, 3 Stopped.",
    run};

}  // namespace musher::cli

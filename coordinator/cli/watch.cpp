// musher watch

#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  std::string name;
  std::string address;
  bool json = false;
  Options options(command);
  options.positional("JOB", &name);
  options.add("json", &json, "the job's description on stdout, progress on stderr");
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;
  Connection connection(address);
  return conclude(follow(connection, name, json ? stderr : stdout), json, true);
}

}  // namespace

const Command kWatch = {
    "watch", "JOB",
    "Show a job's progress until it is over. Ctrl-C leaves the job running. The exit code is the "
    "job's: 0 Completed, 1 Failed, 3 Stopped.",
    run};

}  // namespace musher::cli

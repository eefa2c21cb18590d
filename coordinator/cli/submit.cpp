// musher submit

#include <iostream>

#include "coordinator/cli/command.h"
#include "coordinator/cli/follow.h"
#include "coordinator/job_file.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  std::string path;
  std::string address;
  bool wait = false;
  bool json = false;
  Options options(command);
  options.positional("JOB.json", &path);
  options.add("wait", &wait, "wait until the job is over; the exit code is the job's");
  options.add("json", &json, "with --wait: the job's description is all that is on stdout");
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;

  const JobFile file = read_job_file(path, std::nullopt);
  Connection connection(address);
  connection.call(&v1::Jobs::Stub::CreateTrainingJob, file.request);
  if (!wait || !json) std::cout << file.job.name << std::endl;
  if (!wait) return kOk;
  return conclude(follow(connection, file.job.name, stderr), json, false);
}

}  // namespace

const Command kSubmit = {"submit", "JOB.json",
                         "Put a job into the coordinator's queue, and print its name.", run};

}  // namespace musher::cli

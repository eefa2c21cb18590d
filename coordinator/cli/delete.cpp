// musher delete

#include "coordinator/cli/command.h"
#include "coordinator/cli/connection.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  std::string name;
  std::string address;
  Options options(command);
  options.positional("JOB", &name);
  options.add_coordinator(&address);
  if (!options.parse(words)) return kOk;
  v1::DeleteTrainingJobRequest request;
  request.set_training_job_name(name);
  Connection(address).call(&v1::Jobs::Stub::DeleteTrainingJob, request);
  return kOk;
}

}  // namespace

const Command kDelete = {
    "delete", "JOB", "Delete a job that is over: its record and its log, not its artifact.", run};

}  // namespace musher::cli

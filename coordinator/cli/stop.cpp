// musher stop

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
  v1::StopTrainingJobRequest request;
  request.set_training_job_name(name);
  Connection(address).call(&v1::Jobs::Stub::StopTrainingJob, request);
  return kOk;
}

}  // namespace

const Command kStop = {
    "stop", "JOB", "Stop a job: its ranks save the model and end. Stopping it again does no harm.",
    run};

}  // namespace musher::cli

// musher stop

#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  return call_about_one_job(command, words, &v1::Jobs::Stub::StopTrainingJob);
}

}  // namespace

const Command kStop = {
    "stop", "JOB", "Stop a job: its ranks save the model and end. Stopping it again does no harm.",
    run};

}  // namespace musher::cli

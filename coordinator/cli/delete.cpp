// musher delete

#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  return call_about_one_job(command, words, &v1::Jobs::Stub::DeleteTrainingJob);
}

}  // namespace

const Command kDelete = {
    "delete", "JOB", "Delete a job that is over: its record and its log, not its artifact.", run};

}  // namespace musher::cli

// musher resize

#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  OneJob job;
  std::optional<int> workers;
  Options options(command);
  job.add_to(options);
  options.add("workers", &workers, "N", "the number of ranks that it is to have; needed");
  if (!options.parse(words)) return kOk;
  if (!workers) {
    throw Error(ErrorCode::kInvalidArgument, "--workers is missing; see musher resize --help");
  }
  v1::ResizeTrainingJobRequest request;
  request.set_training_job_name(job.name);
  request.set_ranks(*workers);
  Connection(job.address).call(&v1::Jobs::Stub::ResizeTrainingJob, request);
  return kOk;
}

}  // namespace

const Command kResize = {
    "resize", "JOB --workers N",
    "Give a job another number of ranks. While it runs they come and go between two steps; growing "
    "needs free slots.",
    run};

}  // namespace musher::cli

// musher report

#include <fstream>
#include <iostream>

#include "coordinator/cli/one_job.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  OneJob job;
  std::string out;
  Options options(command);
  options.add("out", &out, "FILE", "write it there instead of to stdout");
  job.add_to(options);
  if (!options.parse(words)) return kOk;

  v1::ReportTrainingJobRequest request;
  request.set_training_job_name(job.name);
  const auto reply = Connection(job.address).call(&v1::Jobs::Stub::ReportTrainingJob, request);
  if (out.empty()) {
    std::cout << reply.html();
    return kOk;
  }
  std::ofstream file(out, std::ios::binary);
  file << reply.html();
  file.close();
  if (!file) throw Error(ErrorCode::kInvalidArgument, "--out " + out + " can't be written");
  return kOk;
}

}  // namespace

const Command kReport = {"report", "JOB",
                         "Print a job's report, one page of HTML: curves, where the time of a step "
                         "went, recoveries, the "
                         "job, its environment.",
                         run};

}  // namespace musher::cli

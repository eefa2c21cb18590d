// musher validate

#include <iostream>

#include "coordinator/cli/command.h"
#include "coordinator/job_file.h"

namespace musher::cli {

namespace {

int run(const Command& command, const std::vector<std::string>& words) {
  std::string path;
  std::optional<int> workers;
  bool list = false;
  Options options(command);
  options.optional_positional("JOB.json", &path);
  options.add("workers", &workers, "N", "check for N ranks, as with `musher train --workers N`");
  options.add("list-hyperparameters", &list, "what a job may set, with defaults");
  if (!options.parse(words)) return kOk;
  if (list) {
    std::cout << hyperparameter_help();
    return kOk;
  }
  if (path.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "JOB.json is missing; see musher validate --help");
  }
  const JobFile file = read_job_file(path, workers);
  print_notices(file.notices);
  std::cout << path << ": job " << file.job.name << " is valid\n";
  return kOk;
}

}  // namespace

const Command kValidate = {
    "validate", "JOB.json",
    "Check a job without running it, and say each thing that is wrong with it.", run};

}  // namespace musher::cli

// musher slurm

#include <cstdlib>
#include <iostream>

#include "coordinator/cli/command.h"
#include "coordinator/cli/daemon_options.h"
#include "coordinator/slurm_batch.h"

namespace musher::cli {

namespace {

int number_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? 0 : std::atoi(value);
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string what;
  std::string folder;
  Options options(command);
  options.positional("run", &what);
  options.positional("folder", &folder);
  if (!options.parse(words)) return kOk;
  if (what != "run") {
    throw Error(ErrorCode::kInvalidArgument,
                "\"" + what + "\" is not known; see musher slurm --help");
  }
  if (number_of("SLURM_RESTART_COUNT") > 0) {
    // Its ranks would be those of an attempt that is over.
    std::cerr
        << "this batch job was put back into Slurm's queue; the coordinator submits another\n";
    return kOk;
  }
  // As sbatch set it, it would keep from the other nodes what mpirun sets for them.
  ::unsetenv("SLURM_EXPORT_ENV");
  block_stop_signals();
  run_slurm_batch(folder, number_of("SLURM_JOB_NUM_NODES") > 1);
  return kOk;
}

}  // namespace

const Command kSlurm = {
    "slurm", "run FOLDER",
    "Run an attempt in Slurm's allocation: what the batch jobs of `musher serve "
    "--launcher slurm` do, and nobody else.",
    run};

}  // namespace musher::cli

#include "coordinator/cli/slurm_options.h"

#include <cstdlib>
#include <sstream>

#include <unistd.h>

namespace musher::cli {

namespace {

namespace fs = std::filesystem;

/// The folder of PATH that has sbatch.
std::string folder_of_sbatch() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && ::access((folder + "/sbatch").c_str(), X_OK) == 0) return folder;
  }
  throw Error(ErrorCode::kNotFound,
              "--launcher slurm: there is no sbatch in PATH; name Slurm's folder of commands with "
              "--slurm-commands");
}

}  // namespace

void SlurmCommandOptions::add_to(Options& options) {
  options.add("launcher", &launcher_, "NAME",
              "mpirun: here, or by ssh on --hosts; slurm: batch jobs of a Slurm cluster (mpirun)");
  SlurmOptions& ask = settings_.ask;
  options.add("slurm-folder", &folder_, "DIR",
              "for what an attempt needs while it runs: this machine and all nodes must see it at "
              "this path (`slurm` in --state)");
  options.add("slurm-partition", &ask.partition, "NAME", "Slurm's --partition (its default)");
  options.add("slurm-account", &ask.account, "NAME", "Slurm's --account (its default)");
  options.add("slurm-qos", &ask.qos, "NAME", "Slurm's --qos (its default)");
  options.add("slurm-constraint", &ask.constraint, "LIST", "Slurm's --constraint (none)");
  options.add("slurm-gpus-per-node", &ask.gpus_per_node, "[TYPE:]N",
              "Slurm's --gpus-per-node (none)");
  options.add("slurm-cpus-per-rank", &ask.cpus_per_rank, "N", "Slurm's --cpus-per-task (1)");
  options.add("slurm-time-limit", &time_limit_, "SECONDS",
              "the most that an attempt may ask for, such as the partition's limit; a job with a "
              "CheckpointConfig that needs longer goes on with the next attempt (no limit)");
  options.add("slurm-interval", &interval_, "SECONDS",
              "from one look at Slurm's queue to the next (2)");
  options.add("slurm-commands", &commands_, "DIR", "where sbatch, squeue and scancel are (PATH)");
}

std::optional<SlurmSettings> SlurmCommandOptions::checked(const fs::path& state) const {
  if (launcher_ == "mpirun") return std::nullopt;
  if (launcher_ != "slurm") {
    throw Error(ErrorCode::kInvalidArgument,
                "--launcher must be mpirun or slurm, not \"" + launcher_ + "\"");
  }
  SlurmSettings settings = settings_;
  settings.folder = folder_.empty() ? state / "slurm" : fs::absolute(folder_);
  if (settings.folder.native().find_first_of("%\\\n") != std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument,
                "--slurm-folder " + settings.folder.string() +
                    " must have no % and no backslash in it, which Slurm would replace");
  }
  if (interval_ <= 0 || time_limit_ < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "--slurm-interval must be above 0, and --slurm-time-limit not below it");
  }
  settings.interval = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * interval_));
  settings.time_limit = std::chrono::seconds(time_limit_);
  settings.ask.commands = commands_.empty() ? folder_of_sbatch() : commands_;
  check_slurm_options(settings.ask);
  return settings;
}

}  // namespace musher::cli

#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "coordinator/cli/command.h"
#include "coordinator/coordinator.h"

namespace musher::cli {

/// `--launcher slurm` of `serve`, and what goes with it.
struct SlurmCommandOptions {
  void add_to(Options& options);

  /// Absent for another launcher. `state`: the coordinator's folder. Throws kInvalidArgument naming
  /// the option, kNotFound where Slurm's commands are not on this machine.
  std::optional<SlurmSettings> checked(const std::filesystem::path& state) const;

 private:
  std::string launcher_ = "mpirun";
  std::string folder_;
  std::string commands_;
  double interval_ = 2;  // seconds
  std::int64_t time_limit_ = 0;
  SlurmSettings settings_;
};

}  // namespace musher::cli

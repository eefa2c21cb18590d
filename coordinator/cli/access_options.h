#pragma once

#include <filesystem>

#include "coordinator/cli/command.h"
#include "coordinator/hosts.h"

namespace musher::cli {

/// The ways to other hosts, which `serve` and `hosts check` share.
struct AccessOptions {
  void add_to(Options& options);

  /// With what this process's environment says. `mpirun`: the path of Open MPI's. Throws
  /// kInvalidArgument.
  HostAccess checked(const std::filesystem::path& mpirun);

 private:
  HostAccess access_;
};

}  // namespace musher::cli

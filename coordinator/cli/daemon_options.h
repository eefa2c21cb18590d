#pragma once

#include <string>

#include "coordinator/cli/command.h"
#include "coordinator/coordinator.h"

namespace musher::cli {

/// What `serve` and `train` have in common.
struct DaemonOptions {
  std::string mpirun;
  std::string trainer;
  std::string cache;
  std::string cache_limit;
  double stop_grace = 120;    // seconds
  double regroup_limit = 60;  // seconds

  void add_to(Options& options);
  /// Everything but `hosts`. Checks that the programs are there.
  CoordinatorOptions coordinator(const std::filesystem::path& state,
                                 const std::filesystem::path& scratch) const;
};

int cores_of_this_machine();

/// Blocks SIGINT and SIGTERM in this thread and all that it starts. Before any other thread.
void block_stop_signals();
/// Waits for one of them, at most until the deadline; 0: none came.
int wait_for_stop_signal(Deadline deadline);

}  // namespace musher::cli

#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

/// What a batch job of Slurm does on its first node: `musher slurm run FOLDER`.
namespace musher {

/// An attempt as the coordinator writes it into `attempt.json` in the batch job's folder, which its
/// owner alone may read: the job's environment is in it.
struct SlurmBatchPlan {
  std::vector<std::string> mpirun;  ///< its argv, but for what depends on the nodes
  std::map<std::string, std::string> environment;
  std::string session;      ///< mpirun's folder on each node
  std::string coordinator;  ///< its host
  std::string network;      ///< that ranks use, e.g. 10.0.0.0/24; empty: that of the coordinator

  std::string text() const;
  /// Throws kInvalidArgument.
  static SlurmBatchPlan parse(const std::string& text);
};

/// Starts mpirun in the allocation, as FOLDER's plan says, and waits for its end. A SIGTERM, which
/// Slurm sends before the time limit and the coordinator to stop the job, goes to the ranks of this
/// node, which tell the others. REQUIRES: SIGTERM is blocked in all threads. Throws what says why
/// mpirun can't be started.
/// `several`: the allocation has more than one node.
void run_slurm_batch(const std::filesystem::path& folder, bool several);

}  // namespace musher

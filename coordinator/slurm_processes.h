#pragma once

#include <mutex>

#include "coordinator/attempt_processes.h"
#include "coordinator/slurm_desk.h"

namespace musher {

/// The processes of an attempt that Slurm runs, on whichever nodes. Its desk carries out what is
/// asked of them, and tells when they are over.
class SlurmProcesses final : public AttemptProcesses {
 public:
  /// The desk outlives it.
  SlurmProcesses(SlurmDesk& desk, SlurmTarget target);

  /// What is asked from now on concerns the job with this id.
  void set_id(std::int64_t id);
  /// Slurm has ended all of them, or does not know them.
  void over();

  int descriptor() const override { return over_.get(); }
  bool told_to_end() const override { return false; }  // `musher slurm run` tells the ranks
  void ask_to_stop() override;
  void kill_ranks() override;
  void kill_all() override;
  void clean_up() override {}  // Slurm's business

 private:
  SlurmTarget target();

  SlurmDesk& desk_;
  const FileDescriptor over_;
  std::mutex mutex_;
  SlurmTarget target_;
};

}  // namespace musher

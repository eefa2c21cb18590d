#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/process.h"

namespace musher {

/// The processes of an attempt, mpirun and its ranks, as their watcher (attempt.h) handles them.
/// Thread-safe.
class AttemptProcesses {
 public:
  virtual ~AttemptProcesses() = default;
  /// Becomes readable when they are over; -1: they were over from the beginning.
  virtual int descriptor() const = 0;
  /// Whether mpirun was sent a SIGTERM, which it does not hear.
  virtual bool told_to_end() const = 0;
  /// SIGTERM to every rank, not to mpirun: that would kill them at once.
  virtual void ask_to_stop() = 0;
  /// SIGKILL to every rank. mpirun still hands on what they wrote.
  virtual void kill_ranks() = 0;
  /// SIGKILL to what is left.
  virtual void kill_all() = 0;
  /// Once they are over: so that nothing of them is left, and writes to the job any more.
  virtual void clean_up() = 0;
};

/// An mpirun that this machine runs. Its ranks here, and those that outlive it, are found by
/// `token`, an argument that each of its processes has, and no other. `session`: its folder,
/// removed at the end. Absent mpirun: it ended while nobody watched.
std::shared_ptr<AttemptProcesses> local_processes(std::optional<Process> mpirun,
                                                  std::filesystem::path token,
                                                  std::filesystem::path session);

}  // namespace musher

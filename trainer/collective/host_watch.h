#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace musher {

/// A rank's process, to those who watch for its death. Goes over MPI as bytes.
struct ProcessIdentity {
  std::uint64_t host = 0;  ///< the same for processes of one kernel, host name and pid namespace
  std::int64_t pid = 0;
  std::uint32_t pmix_rank = 0;
  char pmix_namespace[256] = {};  ///< empty without mpirun

  static ProcessIdentity of_this_process();
};

/// Watches the processes of this host, by pidfd, and tells MPI in this process of each that died.
/// MPI itself hears of a death by mpirun alone: too late where mpirun is stopped or busy, and
/// sometimes never where the dead process was started later, all of a job of its own to PRRTE, and
/// MPIX_Comm_shrink waits for it. Processes of other hosts are mpirun's to watch.
///
/// Safe from any thread.
class HostWatch {
 public:
  explicit HostWatch(const std::vector<ProcessIdentity>& processes);
  ~HostWatch();
  HostWatch(const HostWatch&) = delete;
  HostWatch& operator=(const HostWatch&) = delete;

  void add(const ProcessIdentity& process);
  /// Looks who died since the last time. Some µs.
  void look();

 private:
  struct Watched {
    ProcessIdentity process;
    int pidfd;  ///< -1: dead before it was watched
  };

  const ProcessIdentity own_;
  std::mutex mutex_;
  std::vector<Watched> watched_;  ///< without those whose death was told
};

}  // namespace musher

#pragma once

#include <cstdint>
#include <mutex>

#include <mpi.h>

namespace musher {

/// How many communicators this process has made, and a way to have made more.
///
/// Open MPI 5 (ompi/communicator/comm_cid.c) tells a communicator from an older one of the same
/// number by an epoch: one more than the most communicators that any of its members has made. A
/// member that has made fewer, as a process that was started later, counts up by one only. Once the
/// members that were ahead are gone, epochs come a second time, and an agreement of the new
/// communicator is taken for one of the old: ranks then wait for each other for good. That was seen
/// after 41 replacements. So the members of a new communicator come level: none of them has made
/// fewer than its epoch says. The idea is that of Lamport's clocks.
///
/// Safe from any thread.
class CommunicatorCount {
 public:
  /// MPI must be up.
  CommunicatorCount();
  CommunicatorCount(const CommunicatorCount&) = delete;
  CommunicatorCount& operator=(const CommunicatorCount&) = delete;

  std::int64_t value() const;
  /// MPI calls of this process have made that many.
  void add(std::int64_t made);
  /// Makes communicators of this process alone, and frees them, until there were `count`: some 10
  /// µs each.
  void raise_to(std::int64_t count);

 private:
  mutable std::mutex mutex_;
  MPI_Comm own_ = MPI_COMM_NULL;  ///< left to the process's end
  std::int64_t value_ = 0;
};

}  // namespace musher

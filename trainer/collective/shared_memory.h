#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "trainer/collective/collective.h"
#include "trainer/collective/shared_segment.h"

namespace musher {

/// All-reduce among the ranks of one host through memory that they share. Each rank sums its own
/// slice, reading the slice of every rank, and then copies the others' results: reduce-scatter and
/// all-gather without messages (as in Graham and Shipman, "MPI support for multi-core
/// architectures: optimized shared memory collectives", EuroPVM/MPI 2008). The sum is rank 0 + rank
/// 1 + … for every element, whichever rank adds it.
///
/// Ranks keep in step by one counter each, which its owner alone writes. Who waits spins for a
/// moment, then sleeps on a futex, and looks every few milliseconds whether a peer died (pidfd) or
/// gave up. Memory that lies in an adopted segment is reduced in place; other memory goes through a
/// staging area in pieces.
///
/// Operations come from one thread at a time, in the same order on every rank; they throw
/// PeerFailure, or Error when the ranks do not call the same. abort() and failure() are safe from
/// any thread.
class SharedMemoryGroup {
 public:
  struct Member {
    pid_t pid = 0;
    int rank = 0;  ///< in the whole communicator, for messages
  };

  /// What the control segment of each rank must hold.
  static std::size_t control_bytes();

  /// `members` in order, this process being members[own]; `control` is attached to all of them.
  /// Throws Error (unavailable) where the system has no pidfd.
  SharedMemoryGroup(std::vector<Member> members, std::size_t own,
                    std::shared_ptr<SharedSegment> control);
  ~SharedMemoryGroup();
  SharedMemoryGroup(const SharedMemoryGroup&) = delete;
  SharedMemoryGroup& operator=(const SharedMemoryGroup&) = delete;

  /// Reduces what lies in `segment` in place from now on, as long as someone else owns it.
  void adopt(const std::shared_ptr<SharedSegment>& segment);
  /// What was adopted and still lives, for the group after this one.
  std::vector<std::shared_ptr<SharedSegment>> adopted() const;

  void all_reduce(const Buffer& buffer);
  /// The contents of members[0] to all.
  void share(const Buffer& buffer);

  void abort();
  std::optional<std::string> failure() const;

 private:
  struct Call;
  struct Control;
  /// Where each member's data lies, in order.
  using Parts = std::vector<const std::byte*>;

  Call describe(const Buffer& buffer, std::uint32_t operation) const;
  Parts agreed_parts(const Call& call) const;
  void arrive(const Call& call);
  void reduce_parts(const Parts& parts, std::byte* shared, std::byte* destination,
                    std::size_t count, DType dtype);

  std::byte* staging() const;
  Parts staging_parts() const;
  void next_staging() { half_ ^= 1; }

  void signal();
  void wait_for_all(std::uint32_t step) const;
  bool reached(std::size_t member, std::uint32_t step) const;
  void look_for_trouble(std::uint32_t step) const;
  bool is_dead(std::size_t member) const;

  std::vector<Member> members_;
  std::size_t own_;
  std::shared_ptr<SharedSegment> control_;
  Control* head_;                      ///< this rank's
  std::vector<const Control*> heads_;  ///< everyone's
  std::vector<int> pidfds_;
  bool may_spin_;
  mutable std::mutex mutex_;  ///< of adopted_
  std::vector<std::weak_ptr<SharedSegment>> adopted_;
  std::uint32_t step_ = 0;   ///< what this rank's counter shows
  std::uint64_t calls_ = 0;  ///< operations begun
  std::size_t half_ = 0;     ///< of the staging area that is next
};

}  // namespace musher

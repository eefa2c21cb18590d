#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <mpi.h>

#include "common/deadline.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/communicator_count.h"
#include "trainer/collective/host_watch.h"
#include "trainer/collective/mpi.h"
#include "trainer/collective/shared_memory.h"

namespace musher {

/// One communicator and the operations on it, blocking, on whatever thread calls. The rest of
/// MpiCollective is about running them beside the caller. Operations throw PeerFailure; the first
/// failure, of whatever kind, is the group's end: it is revoked, so that no other rank waits for
/// this one. fail() and failure() are safe from any thread, beside an operation.
class MpiGroup {
 public:
  /// What the groups of a process have in common.
  struct Context {
    MpiOptions options;
    std::shared_ptr<CommunicatorCount> communicators;
  };

  /// How long an operation may take to end after its communicator was revoked: milliseconds, but
  /// for a message on its way to a stopped peer. Open MPI keeps that until the peer dies; it only
  /// reads the buffer.
  static constexpr std::chrono::seconds kLetGo{1};

  /// The living ranks of MPI's world, as a new communicator. Collective over them.
  static std::shared_ptr<MpiGroup> of_world(const Context& context, Deadline deadline);
  /// The living ranks of this group, which has failed. Memory allocated here is reduced in place
  /// there too.
  std::shared_ptr<MpiGroup> survivors(Deadline deadline) const;

  /// This group and a newcomer as its last rank. `peer`: on rank 0 a communicator of rank 0 and the
  /// newcomer, in this order; null on the others. On failure, which all ranks agree on, this group
  /// has failed.
  std::shared_ptr<MpiGroup> with_newcomer(MPI_Comm peer);
  /// The newcomer's side of it; `peer` as above.
  static std::shared_ptr<MpiGroup> as_newcomer(MPI_Comm peer, const Context& context);

  ~MpiGroup();
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// See Collective::transport.
  std::string transport() const;
  /// See Collective::allocate.
  std::shared_ptr<void> allocate(std::size_t bytes);
  void all_reduce(const Buffer& buffer);
  void broadcast(const Buffer& buffer, int root);
  void all_gather(const Buffer& send, const Buffer& receive);

  /// Ends the group, on every rank that can be reached. The first reason is kept.
  void fail(const std::string& reason);
  std::optional<std::string> failure();

  /// Looks for deaths on this host and tells MPI of them, so that no call waits for the dead. For
  /// whoever waits for an operation, beside it. From any thread.
  void look_for_deaths();
  /// Looks for the death of this process as well, which is about to join.
  void watch(const ProcessIdentity& process);

 private:
  using Segments = std::vector<std::shared_ptr<SharedSegment>>;

  MpiGroup(MPI_Comm comm, const Context& context);
  static std::shared_ptr<MpiGroup> shrunken(MPI_Comm parent, const Context& context,
                                            const Segments& segments, Deadline deadline);

  static std::shared_ptr<MpiGroup> merged(MPI_Comm local, MPI_Comm peer, int remote, bool last,
                                          const Context& context, std::atomic<MPI_Comm>& making);

  void found(const Segments& segments);
  void introduce();
  void come_level();
  void share_memory(const Segments& segments);
  std::vector<int> group_by_host();
  MPI_Comm split(int color, const char* what);
  std::shared_ptr<SharedSegment> make_segment(std::size_t bytes);
  bool all_agree(bool mine);

  template <typename Operation>
  auto run(Operation&& operation) {
    if (failed_) throw PeerFailure(failure().value_or("the collective has failed"));
    try {
      return operation();
    } catch (const std::exception& error) {
      fail(error.what());
      throw;
    }
  }
  void check(int code, std::string_view operation) const;
  std::vector<int> dead_ranks() const;
  MPI_Op sum_of(DType dtype) const;
  void all_reduce_over(MPI_Comm comm, const Buffer& buffer);
  void wait_for(MPI_Request& request);

  MPI_Comm comm_;
  const Context context_;
  int rank_ = 0;
  int size_ = 1;
  MPI_Op sum_bfloat16_ = MPI_OP_NULL;
  MPI_Op sum_float16_ = MPI_OP_NULL;

  std::vector<ProcessIdentity> processes_;  ///< by rank; set before the group is handed out
  std::unique_ptr<HostWatch> watch_;        ///< likewise

  // Where ranks share a host: the ranks of this host, and rank 0 of each host. Set before the group
  // is handed out.
  MPI_Comm host_comm_ = MPI_COMM_NULL;
  MPI_Comm leaders_ = MPI_COMM_NULL;  ///< null where this rank is none, or there is one host
  bool several_hosts_ = false;
  bool shares_host_ = false;                 ///< some ranks are on one host
  std::unique_ptr<SharedMemoryGroup> host_;  ///< null: all goes through MPI

  std::atomic<MPI_Comm> growing_{MPI_COMM_NULL};  ///< what with_newcomer() makes just now
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  std::string reason_;  ///< of the first failure
};

}  // namespace musher

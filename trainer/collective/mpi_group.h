#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <mpi.h>

#include "common/deadline.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/mpi.h"

namespace musher {

/// One communicator and the operations on it, blocking, on whatever thread calls. The rest of
/// MpiCollective is about running them beside the caller. Operations throw PeerFailure; the first
/// failure, of whatever kind, is the group's end: it is revoked, so that no other rank waits for
/// this one. fail() and failure() are safe from any thread, beside an operation.
class MpiGroup {
 public:
  /// The living ranks of `parent`, as a new communicator. Collective over them.
  static std::shared_ptr<MpiGroup> survivors_of(MPI_Comm parent, const MpiOptions& options,
                                                Deadline deadline);

  MpiGroup(MPI_Comm comm, const MpiOptions& options);
  ~MpiGroup();
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  MPI_Comm comm() const { return comm_; }
  const MpiOptions& options() const { return options_; }

  void all_reduce(const Buffer& buffer);
  void broadcast(const Buffer& buffer, int root);
  void all_gather(const Buffer& send, const Buffer& receive);

  void fail(const std::string& reason);
  std::optional<std::string> failure();

 private:
  template <typename Operation>
  void run(Operation&& operation);
  void check(int code, std::string_view operation);
  std::vector<int> dead_ranks() const;
  std::string describe_dead(std::string_view otherwise) const;
  void all_reduce_over(MPI_Comm comm, const Buffer& buffer);

  MPI_Comm comm_;
  MpiOptions options_;
  int rank_ = 0;
  int size_ = 1;
  MPI_Op sum_bfloat16_ = MPI_OP_NULL;
  MPI_Op sum_float16_ = MPI_OP_NULL;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string reason_;  ///< of the first failure
};

}  // namespace musher

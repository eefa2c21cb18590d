#pragma once

#include <memory>

#include "common/deadline.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/communicator_count.h"

namespace musher {

/// MPI in this process, from MPI_Init_thread to MPI_Finalize. One per process; it outlives every
/// collective. Works without mpirun too, as a world of one rank.
class MpiRuntime {
 public:
  /// Throws Error (failed precondition) where MPI does not offer threads or does not start.
  MpiRuntime();
  /// finalize() with 5 s where it was not called.
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  /// As mpirun started them; a collective's own rank and size change with shrink().
  int world_rank() const { return world_rank_; }
  int world_size() const { return world_size_; }
  /// Whether a rank of a running job started this process (trainer/collective/mpi_newcomer.h).
  bool is_newcomer() const { return is_newcomer_; }
  /// Rank among the ranks of this host: the GPU to use.
  int local_rank() const { return local_rank_; }
  /// How many ranks mpirun started on this host.
  int local_size() const { return local_size_; }
  /// Whether the death of a rank is an error code (mpirun --with-ft ulfm) and not the end of all
  /// ranks.
  bool fault_tolerant() const { return fault_tolerant_; }
  /// For who makes communicators.
  std::shared_ptr<CommunicatorCount> communicators() const { return communicators_; }

  /// MPI_Finalize, which waits for the other ranks and after a failure may never return. False when
  /// it has not by the deadline: a thread is then stuck in MPI for good, and main must leave by
  /// std::_Exit after it has flushed what it wants to keep. Once.
  bool finalize(Deadline deadline);

 private:
  int world_rank_ = 0;
  int world_size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  bool fault_tolerant_ = false;
  bool is_newcomer_ = false;
  bool finalized_ = false;
  std::shared_ptr<CommunicatorCount> communicators_;
};

struct MpiOptions {
  /// Reduce through memory shared by the ranks of a host. Where the system does not allow it, MPI
  /// is used, and transport() says so.
  bool shared_memory = true;
  /// Take this many consecutive ranks for one host, so that tests have several hosts on one
  /// machine. 0: as it is.
  int ranks_per_host = 0;
};

/// A collective over all ranks of MPI's world that are alive. Collective over them. Each operation
/// runs on the collective's own thread. Throws PeerFailure when not all came by the deadline.
std::unique_ptr<Collective> make_mpi_collective(const MpiRuntime& runtime,
                                                const MpiOptions& options, Deadline deadline);

}  // namespace musher

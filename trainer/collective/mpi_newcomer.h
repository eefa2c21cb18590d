#pragma once

#include <memory>
#include <string>
#include <vector>

#include <mpi.h>

#include "common/deadline.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/host_watch.h"
#include "trainer/collective/mpi.h"

namespace musher {

/// A process that this rank starts beside training, on its way to be the last rank of a collective:
/// Collective::grow() takes it in. MPI_Comm_spawn takes about a second, so it runs on a thread of
/// its own. Calls come from one thread.
class Newcomer {
 public:
  /// `command`: program and arguments.
  Newcomer(const MpiRuntime& mpi, std::vector<std::string> command);
  /// Sends it home where it was not taken in.
  ~Newcomer();
  Newcomer(const Newcomer&) = delete;
  Newcomer& operator=(const Newcomer&) = delete;

  /// It has all that it needs to train, and waits.
  bool ready() const;
  /// It could not be started, or is gone.
  bool failed() const;

  /// Which process it is, once ready().
  const ProcessIdentity& process() const;

  /// Tells it that the others come now. Returns the communicator of this rank and the newcomer, in
  /// this order. Once, when ready(). For MpiCollective::grow().
  MPI_Comm call_in();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// The newcomer's own side, in a process that a Newcomer started.
class Applicant {
 public:
  /// Meets who started it. Throws PeerFailure.
  explicit Applicant(const MpiRuntime& mpi);

  /// Tells that it is ready, and returns as the last rank of the collective that takes it in. Null
  /// where it is sent home, or who started it is gone. Throws PeerFailure when it was not taken in
  /// by the deadline, or it failed on the way.
  std::unique_ptr<Collective> enter(const MpiOptions& options, Deadline deadline);

 private:
  const MpiRuntime& mpi_;
  MPI_Comm peer_ = MPI_COMM_NULL;
};

/// The collective that takes the process at the other end of `peer` in as its last rank; its own
/// side. Throws PeerFailure.
std::unique_ptr<Collective> make_newcomer_collective(const MpiRuntime& runtime, MPI_Comm peer,
                                                     const MpiOptions& options, Deadline deadline);

}  // namespace musher

#pragma once

#include <chrono>
#include <memory>

#include "common/deadline.h"
#include "trainer/collective/collective.h"

namespace musher {

struct NcclOptions {
  /// The CUDA device of this rank: MpiRuntime::local_rank(), where each host's GPUs are given to
  /// its ranks in order.
  int device = 0;
  /// How long NCCL may take to accept an operation. The first one connects the ranks to each other.
  std::chrono::milliseconds issue_timeout = std::chrono::seconds(60);
};

/// A collective over the GPUs of the ranks of `bootstrap`, one NCCL communicator for one
/// generation. Buffers are device memory.
///
/// NCCL notices the death of a peer on the same host never, and that of a distant one late. So
/// nothing here blocks in NCCL or in a stream: waits poll the operation's event, the communicator's
/// asynchronous error and bootstrap->failure(), until the deadline. Whoever sees a failure aborts
/// the bootstrap, by which the others see it too.
///
/// A kernel that waits for a dead peer runs on until shrink() or the destructor ends it: after a
/// PeerFailure call nothing that synchronises with the device (cudaFree, a stream's
/// synchronisation) before.
///
/// A CUDA error of this rank's own device throws Error (internal): it is sticky, so only a new
/// process helps. Ranks that die during initialisation are shrunk away; PeerFailure when it did not
/// succeed by the deadline.
std::unique_ptr<Collective> make_nccl_collective(std::unique_ptr<Collective> bootstrap,
                                                 const NcclOptions& options, Deadline deadline);

/// The same by a C name, the one symbol by which nccl_loader.h reaches this module. Takes over
/// `bootstrap`; never null.
extern "C" Collective* musher_make_nccl_collective(Collective* bootstrap,
                                                   const NcclOptions* options,
                                                   const Deadline* deadline);

}  // namespace musher

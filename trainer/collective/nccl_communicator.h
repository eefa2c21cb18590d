#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nccl.h>

#include "common/deadline.h"

namespace musher {

/// News that ends a wait: why it is in vain. Empty while there is hope.
using Watch = std::function<std::optional<std::string>()>;

/// Polls, often at first and then every few microseconds, until `done()`; nothing that NCCL or CUDA
/// offers to block in takes a deadline. Throws PeerFailure with the news of `watch`, or at the
/// deadline.
void poll_until(const std::function<bool()>& done, const Watch& watch, std::string_view what,
                Deadline deadline);

/// One non-blocking NCCL communicator. Calls come from one thread at a time. It is aborted exactly
/// once, at the latest by the destructor: NCCL's own way to end gracefully waits for the peers.
class NcclCommunicator {
 public:
  /// Collective over the ranks that share `id`. Returns at once; settle() waits for it.
  NcclCommunicator(int device, const ncclUniqueId& id, int size, int rank);
  ~NcclCommunicator() { abort(); }
  NcclCommunicator(NcclCommunicator&& other) noexcept;
  NcclCommunicator& operator=(NcclCommunicator&&) = delete;

  ncclComm_t get() const { return comm_; }

  /// Waits until what was called last is accepted. Throws PeerFailure on an error of NCCL, on news
  /// of `watch`, at the deadline.
  void settle(ncclResult_t called, const Watch& watch, std::string_view what, Deadline deadline);
  /// The communicator's asynchronous error in words; empty while there is none.
  std::optional<std::string> trouble() const;

  /// Ends operations under way and makes a communicator without the ranks `excluded`. Collective
  /// over the others; this one is then good for abort() alone. Throws PeerFailure.
  NcclCommunicator shrunken(std::span<const int> excluded, const Watch& watch, Deadline deadline);

  /// Ends operations under way and frees the communicator. It has been seen to hang
  /// (NVIDIA/nccl#863), so it runs on a thread of its own, which is left behind after some seconds.
  void abort();

 private:
  NcclCommunicator(int device, ncclComm_t comm) : device_(device), comm_(comm) {}

  int device_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "common/deadline.h"

namespace musher {

enum class DType { kFloat32, kFloat64, kBFloat16, kFloat16, kInt64, kUInt8 };
/// Bytes of one element.
std::size_t size_of(DType dtype);

/// Memory that a collective works on: host memory for MPI, device memory for NCCL. Not owned; it
/// must live until the operation's wait() has returned, and after a PeerFailure until shrink() has.
struct Buffer {
  void* data = nullptr;
  std::size_t count = 0;  ///< elements
  DType dtype = DType::kFloat32;
  /// On a GPU the cudaStream_t on which the contents were written: the operation starts after what
  /// is queued there now. Null is CUDA's default stream, which is also LibTorch's. On a CPU it is
  /// not looked at.
  void* producer_stream = nullptr;

  std::size_t bytes() const { return count * size_of(dtype); }
};

/// A peer of the communicator is gone, or the operation did not end by its deadline. The
/// communicator is unusable but for shrink(). The engine catches it at the step boundary; it is not
/// an `Error` because it is expected to happen.
class PeerFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A process on its way to be a rank (trainer/collective/mpi_newcomer.h).
class Newcomer;

/// An all-reduce under way. Waiting once is required, in the order of issue.
class Work {
 public:
  virtual ~Work() = default;
  /// Returns when the result is in the buffer. Throws PeerFailure, also when the deadline passes:
  /// the buffer's contents are then undefined, and may still change until shrink() has returned or
  /// the collective is gone.
  virtual void wait(Deadline deadline) = 0;
};

/// The ranks of one generation, and operations among them over flat buffers. All ranks call the
/// same operations with the same counts in the same order. Calls come from one thread at a time; an
/// operation runs beside the caller until it is waited for. Same ranks, same sequence of calls:
/// bit-identical results, the same on every rank.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Memory for buffers that are reduced often, such as the flat gradients: 64-byte aligned,
  /// zeroed, and placed where this collective reduces it without copying (shared with the ranks of
  /// the host, or on the device). Collective: all ranks ask for the same sizes in the same order.
  /// Any part of it may be reduced; all ranks then pass the same offset. It may outlive the
  /// collective, and stays fast in those that shrink() makes from it. Other memory may be reduced
  /// as well; it just costs a copy.
  virtual std::shared_ptr<void> allocate(std::size_t bytes, Deadline deadline) = 0;

  /// Sum over ranks, in place. On CPUs of one host bf16 and fp16 are summed in float32 and rounded
  /// once. Does not throw PeerFailure: wait() does.
  virtual std::unique_ptr<Work> all_reduce(Buffer buffer) = 0;
  /// `buffer` of rank `root` to all.
  virtual void broadcast(Buffer buffer, int root, Deadline deadline) = 0;
  /// Each rank's `send`, of equal count, one after another in `receive` (size() × send.count
  /// elements).
  virtual void all_gather(Buffer send, Buffer receive, Deadline deadline) = 0;

  /// How operations go from rank to rank, in words for the log: a slower way than expected is said.
  virtual std::string transport() const = 0;
  /// The same ranks over host memory, for small things beside training. On CPUs this object itself.
  virtual Collective& host() = 0;

  /// Why operations would fail with PeerFailure, as far as it is known now: the dead rank, or who
  /// aborted. Empty while all is well. Looks for news of dead peers, does not block, safe from any
  /// thread.
  virtual std::optional<std::string> failure() = 0;
  /// Makes operations under way on every rank that can be reached end with PeerFailure. Safe from
  /// any thread, idempotent.
  virtual void abort() = 0;
  /// After a PeerFailure: the survivors' new communicator, ranks renumbered in order. Collective
  /// over the survivors: every rank that is alive must call it, or be dead by the deadline, past
  /// which it throws PeerFailure. This object is then done with.
  virtual std::unique_ptr<Collective> shrink(Deadline deadline) = 0;
  /// These ranks in their order, and after them one more: `newcomer`, which rank 0 has started and
  /// which is ready; null on the other ranks. Collective. Throws PeerFailure, on all ranks, when it
  /// did not come to be by the deadline: shrink() then goes on without the newcomer.
  virtual std::unique_ptr<Collective> grow(Newcomer* newcomer, Deadline deadline) = 0;
};

}  // namespace musher

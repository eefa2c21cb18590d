#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/deadline.h"

namespace musher {

enum class DType { kFloat32, kFloat64, kBFloat16, kFloat16, kInt64, kUInt8 };
std::size_t size_of(DType dtype);

/// Memory that a collective works on: host memory for MPI, device memory for NCCL. Not owned; it must live until the
/// operation's wait() has returned.
struct Buffer {
  void* data = nullptr;
  std::size_t count = 0;  ///< elements
  DType dtype = DType::kFloat32;
};

/// A peer of the communicator is gone, or the operation did not end by its deadline. The communicator is unusable but for
/// shrink(). The engine catches it at the step boundary; it is not an `Error` because it is expected to happen.
class PeerFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An all-reduce under way. Waiting once is required, in the order of issue.
class Work {
 public:
  virtual ~Work() = default;
  /// Returns when the result is in the buffer. Throws PeerFailure, also when the deadline passes.
  virtual void wait(Deadline deadline) = 0;
};

/// The ranks of one generation, and operations among them over flat buffers. All ranks call the same operations with the same
/// counts in the same order. Calls come from one thread at a time; an operation runs beside the caller until it is waited for.
/// Same ranks, same sequence of calls: bit-identical results.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Sum over ranks, in place.
  virtual std::unique_ptr<Work> all_reduce(Buffer buffer) = 0;
  /// `buffer` of rank `root` to all.
  virtual void broadcast(Buffer buffer, int root, Deadline deadline) = 0;
  /// Each rank's `send`, of equal count, one after another in `receive` (size() × send.count elements).
  virtual void all_gather(Buffer send, Buffer receive, Deadline deadline) = 0;

  /// Makes operations under way on every rank that can be reached end with PeerFailure. Safe from any thread, idempotent.
  virtual void abort() = 0;
  /// After a PeerFailure: the survivors' new communicator, ranks renumbered in order. Collective over the survivors.
  virtual std::unique_ptr<Collective> shrink(Deadline deadline) = 0;
};

}  // namespace musher

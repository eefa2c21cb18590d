#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <sys/types.h>

namespace musher {

/// Memory of equal size in each rank of a host, which every rank writes only its own part of and
/// reads the others'. Peers are mapped read-only: a rank that was given up for dead and wakes up
/// can spoil no one's memory. It is anonymous (memfd), so nothing is left behind whoever dies, and
/// no limit of /dev/shm applies. Immutable after attach(), then safe from any thread.
class SharedSegment {
 public:
  /// What a peer needs to map this rank's part; plain numbers, to be sent as they are.
  struct Handle {
    std::int64_t pid = 0;
    std::int64_t descriptor = 0;
    std::int64_t inode = 0;
  };

  /// This rank's part, zeroed. Throws Error (resource exhausted).
  explicit SharedSegment(std::size_t bytes);
  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  Handle handle() const;
  /// Maps the parts of all ranks of the host, this one's among them; they must be alive with their
  /// handle open until all have attached. Throws Error (unavailable) where the system forbids it,
  /// as between containers.
  void attach(std::span<const Handle> handles);

  /// The same number on every rank that attached, and for no other segment. 0 before attach().
  std::uint64_t identity() const { return identity_; }
  std::size_t bytes() const { return bytes_; }
  std::byte* own() const { return own_; }
  /// The part of the process; null if it is not one of the attached.
  const std::byte* part_of(pid_t pid) const;
  bool contains(const void* data, std::size_t bytes) const;

 private:
  struct Part {
    pid_t pid;
    const std::byte* data;
  };

  std::size_t bytes_;
  int descriptor_ = -1;
  std::byte* own_ = nullptr;
  std::uint64_t identity_ = 0;
  std::vector<Part> parts_;
};

}  // namespace musher

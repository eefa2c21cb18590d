#pragma once

#include <cstdint>
#include <string>

namespace musher {

/// An open file, closed with it.
class OpenFile {
 public:
  OpenFile() = default;
  explicit OpenFile(int descriptor) : descriptor_(descriptor) {}
  ~OpenFile();
  OpenFile(OpenFile&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(OpenFile&&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  int descriptor_ = -1;
};

/// The room that a local cache's folder has, shared by processes. `usage`, a number, is what all
/// that is there takes, or more: bytes are reserved in it before they are written, under a lock, so
/// that a crash can only leave it too large. When it reaches the limit what is there is counted
/// anew, and the files that were used least recently are removed.
///
///     folder/lock, usage
///     folder/partial/<bytes reserved>-XXXXXX   being written; locked by the process that does
///     folder/<2 hex digits>/<16 hex digits>    a piece; its time of change is that of its last use
///
/// Calls of different processes exclude each other; of one process, the caller sees to that. Inside
/// storage.
class CacheSpace {
 public:
  CacheSpace(std::string folder, std::uint64_t limit) : folder_(std::move(folder)), limit_(limit) {}

  /// A file to write to, with `bytes` reserved for it.
  struct Partial {
    std::string path;
    OpenFile file;
    std::uint64_t bytes = 0;
  };
  /// What a file of so many bytes takes of the disk, about.
  static std::uint64_t taken(std::uint64_t bytes);

  /// Throws std::system_error where the disk is full or the folder can't be written. A Partial
  /// without a file: others had the folder locked for too long, or `bytes` are more than the limit.
  Partial reserve(std::uint64_t bytes);
  /// Makes it a piece, unless there is one of that name already.
  void publish(const Partial& partial, const std::string& path);
  /// Removes it, and gives its bytes back.
  void abandon(const Partial& partial) noexcept;

 private:
  class Locked;

  std::uint64_t read_usage(const Locked& lock) const;
  void write_usage(const Locked& lock, std::uint64_t bytes) const;
  std::uint64_t evict(std::uint64_t wanted) const;
  std::uint64_t live_partials() const;
  void check_free(std::uint64_t bytes) const;

  const std::string folder_;
  const std::uint64_t limit_;
};

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// Pieces of content in a folder of this host, by identity: a text that says what it is so exactly
/// that the same text always means the same bytes (a URI with the object's entity tag, say). Shared
/// by threads and processes, which may be killed at any time, and kept when they end. All pieces
/// together take at most `limit` bytes of disk, also while several processes add to them; those
/// that were not used for longest go first. A piece has a checksum, and becomes visible by a
/// rename: what a crash or a power cut left is never taken for content. Format: docs/formats.md.
class LocalCache {
 public:
  /// `folder`: made at the first keep(). `notice` gets one line, once, when nothing more can be
  /// kept; called on the thread that found out.
  LocalCache(std::string folder, std::uint64_t limit,
             std::function<void(const std::string&)> notice);
  ~LocalCache();
  LocalCache(const LocalCache&) = delete;
  LocalCache& operator=(const LocalCache&) = delete;

  const std::string& folder() const;
  std::uint64_t limit() const;
  /// False once nothing more can be kept: a disk that is full, a folder that can't be written.
  bool keeps() const;

  /// The content, checked; nothing where it is not there or is damaged.
  std::optional<std::vector<std::byte>> find(std::string_view identity);

  /// Keeps it, whole or not at all, and drops what was not used for longest where room is wanted.
  /// False where it was not kept; never throws for what the disk does.
  bool keep(std::string_view identity, std::span<const std::byte> content);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// A number of bytes as people write it: `20GiB`, `500MB`, `1073741824`; KiB, MiB, GiB, TiB are
/// powers of 1024, kB, MB, GB, TB of 1000. kInvalidArgument, naming `what`, for anything else.
std::uint64_t parse_bytes(std::string_view text, std::string_view what);

}  // namespace musher

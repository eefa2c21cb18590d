#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/object_store.h"

namespace musher {

/// Whether an object of this name is a tar that Musher reads: `.tar`, `.tar.gz` or `.tgz`.
bool is_tar_name(std::string_view key);
/// Whether it is one in gzip: `.tar.gz` or `.tgz`. Offsets of its samples count in the tar as it is
/// unpacked, for nothing can be read out of the middle of a gzip stream.
bool is_packed_tar_name(std::string_view key);

/// A gzip tar, unpacked, from its beginning on: ranged reads of some MiB one after the other, and
/// never more than one of them in memory. Several gzip streams one after the other, as parallel
/// packers write them, are one. Throws what the store throws, and kDataLoss naming the URI for a
/// stream that is damaged or cut off; its CRC-32 is checked. One thread at a time.
class UnpackedTar {
 public:
  /// `size`: of the object, packed. The store must outlive it.
  UnpackedTar(ObjectStore& store, std::string key, std::uint64_t size);
  ~UnpackedTar();
  UnpackedTar(const UnpackedTar&) = delete;
  UnpackedTar& operator=(const UnpackedTar&) = delete;

  /// The next bytes, valid until the next call; empty at the end.
  std::span<const std::byte> next();

  /// Exactly `length` bytes from `offset`, both of the unpacked tar. What lies before is passed
  /// over. kDataLoss where the tar ends earlier. REQUIRES: not before what was read already; no
  /// call of next().
  std::vector<std::byte> read(std::uint64_t offset, std::uint64_t length);

 private:
  struct Inflater;

  [[noreturn]] void fail(std::string_view why) const;
  bool refill();

  ObjectStore& store_;
  const std::string key_;
  const std::uint64_t size_;
  std::uint64_t fetched_ = 0;      ///< bytes of the object
  std::vector<std::byte> packed_;  ///< what the inflater reads from
  std::vector<std::byte> unpacked_;
  std::uint64_t position_ = 0;       ///< of the unpacked tar: where rest_ begins
  std::span<const std::byte> rest_;  ///< of what next() gave to read()
  std::unique_ptr<Inflater> inflater_;
};

}  // namespace musher

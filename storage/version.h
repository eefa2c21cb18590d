#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// What an object is at present.
struct ObjectVersion {
  std::uint64_t size = 0;
  std::string tag;  ///< another for other bytes: S3's entity tag; empty where the store has none
  bool operator==(const ObjectVersion&) const = default;
};

/// What a store offers beside ObjectStore to who keeps its objects. Errors as of ObjectStore's
/// calls. Inside storage.
class VersionedObjects {
 public:
  virtual ~VersionedObjects() = default;

  /// One request.
  virtual ObjectVersion version(std::string_view key) = 0;

  /// A range of an object whose size is known: read() without its own question for that.
  virtual std::vector<std::byte> read_known(std::string_view key, std::uint64_t size,
                                            std::uint64_t offset, std::uint64_t length) = 0;
};

}  // namespace musher

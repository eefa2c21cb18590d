#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "storage/object_store.h"

namespace musher {

/// What `{"url": …}` may reach: objects below prefixes that the operator named, so that a caller
/// can't make the server fetch what the caller may not (SSRF). Thread-safe.
class AllowedUrls {
 public:
  /// `prefixes`: `s3://bucket/folder` or `file:///folder`; a store is opened for each.
  AllowedUrls(const std::vector<std::string>& prefixes, const StorageConfig& storage);

  /// The object, of at most `limit` bytes. kPermissionDenied for a URL that is not below a prefix,
  /// be it by `..`; kInvalidArgument for none at all, or an object that is larger.
  std::vector<std::byte> read(const std::string& url, std::uint64_t limit);

 private:
  struct Prefix {
    Uri uri;
    std::unique_ptr<ObjectStore> store;
  };
  std::vector<Prefix> prefixes_;
};

}  // namespace musher

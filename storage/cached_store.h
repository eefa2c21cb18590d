#pragma once

#include <memory>
#include <string_view>

#include "storage/local_cache.h"
#include "storage/object_store.h"

namespace musher {

/// Reads of `store` that go through a cache on this host's disk: objects in blocks of 4 MiB, each
/// brought when a read first touches it. The first read of an object asks the store for its size
/// and entity tag, and its blocks count only with these; after that nothing is asked for what is in
/// the cache, so an object that is replaced while this store is open is seen by the next. What the
/// cache can't keep is read from the store, just as wide as it was asked for. All else goes to the
/// store. Thread-safe.
class CachedStore : public ObjectStore {
 public:
  CachedStore(std::unique_ptr<ObjectStore> store, std::shared_ptr<LocalCache> cache);
  ~CachedStore() override;

  /// Brings all of an object into the cache. False where it can't be kept.
  bool bring(std::string_view key);

  const Uri& root() const override;
  void list(std::string_view prefix,
            const std::function<void(std::vector<ObjectInfo>)>& page) override;
  ObjectInfo head(std::string_view key) override;
  std::vector<std::byte> read(std::string_view key) override;
  std::vector<std::byte> read(std::string_view key, std::uint64_t offset,
                              std::uint64_t length) override;
  void put(std::string_view key, std::span<const std::byte> bytes) override;
  std::unique_ptr<ObjectWriter> writer(std::string_view key) override;
  void remove(std::string_view key) override;
  std::vector<std::string> folders(std::string_view prefix) override;
  void remove_folder(std::string_view prefix) override;
  void remove_unfinished(std::string_view prefix) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

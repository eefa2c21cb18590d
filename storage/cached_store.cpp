#include "storage/cached_store.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "common/checksum.h"
#include "common/error.h"
#include "storage/version.h"

namespace musher {
namespace {

/// As large as one read of samples out of a tar.
constexpr std::uint64_t kBlock = 4 << 20;
/// Objects whose versions are remembered; beyond that the store is asked once more.
constexpr std::size_t kMostVersions = 1 << 20;
/// A call of the store has limits of its own, which are shorter.
constexpr auto kLongestFetch = std::chrono::minutes(10);

/// The store's own versions, or what head() tells.
class Versions {
 public:
  explicit Versions(ObjectStore& store)
      : store_(store), versioned_(dynamic_cast<VersionedObjects*>(&store)) {}

  ObjectVersion of(std::string_view key) {
    const std::uint64_t name = hash64(key);
    {
      const std::lock_guard lock(mutex_);
      const auto known = known_.find(name);
      if (known != known_.end()) return known->second;
    }
    ObjectVersion version = ask(key);
    const std::lock_guard lock(mutex_);
    if (known_.size() >= kMostVersions) known_.clear();
    known_[name] = version;
    return version;
  }

  std::vector<std::byte> read(std::string_view key, std::uint64_t size, std::uint64_t offset,
                              std::uint64_t length) {
    return versioned_ != nullptr ? versioned_->read_known(key, size, offset, length)
                                 : store_.read(key, offset, length);
  }

 private:
  ObjectVersion ask(std::string_view key) {
    if (versioned_ != nullptr) return versioned_->version(key);
    const ObjectInfo info = store_.head(key);
    return {info.size, info.modified == 0 ? "" : fmt::format("{}", info.modified)};
  }

  ObjectStore& store_;
  VersionedObjects* const versioned_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, ObjectVersion> known_;
};

}  // namespace

class CachedStore::Impl {
 public:
  Impl(std::unique_ptr<ObjectStore> store, std::shared_ptr<LocalCache> cache)
      : store_(std::move(store)), cache_(std::move(cache)), versions_(*store_) {}

  std::vector<std::byte> read(std::string_view key, const ObjectVersion& version,
                              std::uint64_t offset, std::uint64_t length);
  bool bring(std::string_view key);

  const std::unique_ptr<ObjectStore> store_;
  const std::shared_ptr<LocalCache> cache_;
  Versions versions_;

 private:
  class OneFetch;

  /// One block, from the cache or else into it.
  std::optional<std::vector<std::byte>> block(std::string_view key, const ObjectVersion& version,
                                              std::uint64_t number);
  std::string identity(std::string_view key, const ObjectVersion& version,
                       std::uint64_t number) const {
    return fmt::format("{}\n{}\n{}\n{}\n{}", store_->root().str(), key, version.size, version.tag,
                       number);
  }

  std::mutex mutex_;
  std::condition_variable fetched_;
  std::set<std::string> fetching_;  ///< identities
};

/// Two threads that want one block fetch it once.
class CachedStore::Impl::OneFetch {
 public:
  OneFetch(Impl& impl, const std::string& identity) : impl_(impl), identity_(identity) {
    std::unique_lock lock(impl_.mutex_);
    const auto free = [&] { return !impl_.fetching_.contains(identity_); };
    waited_ = !free();
    impl_.fetched_.wait_for(lock, kLongestFetch, free);
    mine_ = impl_.fetching_.insert(identity_).second;
  }
  ~OneFetch() {
    if (!mine_) return;
    const std::lock_guard lock(impl_.mutex_);
    impl_.fetching_.erase(identity_);
    impl_.fetched_.notify_all();
  }
  OneFetch(const OneFetch&) = delete;
  OneFetch& operator=(const OneFetch&) = delete;
  bool waited() const { return waited_; }

 private:
  Impl& impl_;
  const std::string& identity_;
  bool waited_ = false;
  bool mine_ = false;
};

/// Nothing where it is not in the cache and can't be kept: then the caller reads what it needs.
std::optional<std::vector<std::byte>> CachedStore::Impl::block(std::string_view key,
                                                               const ObjectVersion& version,
                                                               std::uint64_t number) {
  const std::string name = identity(key, version, number);
  if (auto known = cache_->find(name)) return known;
  const OneFetch fetch(*this, name);
  if (fetch.waited()) {
    if (auto known = cache_->find(name)) return known;
  }
  if (!cache_->keeps()) return std::nullopt;
  const std::uint64_t begin = number * kBlock;
  auto bytes = versions_.read(key, version.size, begin, std::min(kBlock, version.size - begin));
  cache_->keep(name, bytes);
  return bytes;
}

std::vector<std::byte> CachedStore::Impl::read(std::string_view key, const ObjectVersion& version,
                                               std::uint64_t offset, std::uint64_t length) {
  // Without a tag nobody could tell other bytes of the same length from these.
  const bool inside = offset <= version.size && length <= version.size - offset;
  if (length == 0 || !inside || version.tag.empty()) return store_->read(key, offset, length);
  std::vector<std::byte> result;
  result.reserve(length);
  for (std::uint64_t number = offset / kBlock; number <= (offset + length - 1) / kBlock; ++number) {
    const std::uint64_t begin = number * kBlock;
    const auto bytes = block(key, version, number);
    if (!bytes) return versions_.read(key, version.size, offset, length);
    const std::uint64_t from = std::max(offset, begin) - begin;
    const std::uint64_t to = std::min(offset + length, begin + kBlock) - begin;
    if (to > bytes->size()) {
      throw Error(ErrorCode::kInternal, fmt::format("{}/{}: block {} in the cache is too short",
                                                    store_->root().str(), key, number));
    }
    const auto part = std::span(*bytes).subspan(from, to - from);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

bool CachedStore::Impl::bring(std::string_view key) {
  const ObjectVersion version = versions_.of(key);
  if (version.tag.empty()) return false;
  for (std::uint64_t begin = 0; begin < version.size; begin += kBlock) {
    if (!block(key, version, begin / kBlock)) return false;
  }
  return cache_->keeps();
}

CachedStore::CachedStore(std::unique_ptr<ObjectStore> store, std::shared_ptr<LocalCache> cache)
    : impl_(std::make_unique<Impl>(std::move(store), std::move(cache))) {}

CachedStore::~CachedStore() = default;

bool CachedStore::bring(std::string_view key) {
  return impl_->bring(key);
}

const Uri& CachedStore::root() const {
  return impl_->store_->root();
}

void CachedStore::list(std::string_view prefix,
                       const std::function<void(std::vector<ObjectInfo>)>& page) {
  impl_->store_->list(prefix, page);
}

ObjectInfo CachedStore::head(std::string_view key) {
  return impl_->store_->head(key);
}

std::vector<std::byte> CachedStore::read(std::string_view key) {
  const ObjectVersion version = impl_->versions_.of(key);
  return impl_->read(key, version, 0, version.size);
}

std::vector<std::byte> CachedStore::read(std::string_view key, std::uint64_t offset,
                                         std::uint64_t length) {
  return impl_->read(key, impl_->versions_.of(key), offset, length);
}

void CachedStore::put(std::string_view key, std::span<const std::byte> bytes) {
  impl_->store_->put(key, bytes);
}

std::unique_ptr<ObjectWriter> CachedStore::writer(std::string_view key) {
  return impl_->store_->writer(key);
}

void CachedStore::remove(std::string_view key) {
  impl_->store_->remove(key);
}

std::vector<std::string> CachedStore::folders(std::string_view prefix) {
  return impl_->store_->folders(prefix);
}

void CachedStore::remove_folder(std::string_view prefix) {
  impl_->store_->remove_folder(prefix);
}

void CachedStore::remove_unfinished(std::string_view prefix) {
  impl_->store_->remove_unfinished(prefix);
}

}  // namespace musher

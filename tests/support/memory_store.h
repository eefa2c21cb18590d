#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "storage/object_store.h"

namespace musher::test {

/// Objects in memory, for tests of what stands on top of a store. Lists backwards and in small
/// pages, as no order may be relied on. Thread-safe, but set the members that are plain before
/// other threads use it.
class MemoryStore : public ObjectStore {
 public:
  explicit MemoryStore(Uri root = {.scheme = "s3", .bucket = "memory", .path = "data"})
      : root_(std::move(root)) {}

  const Uri& root() const override { return root_; }

  void list(std::string_view prefix,
            const std::function<void(std::vector<ObjectInfo>)>& page) override {
    std::vector<ObjectInfo> found;
    {
      const std::lock_guard lock(mutex_);
      for (auto entry = objects_.rbegin(); entry != objects_.rend(); ++entry) {
        if (below(prefix, entry->first)) found.push_back(info(entry->first, entry->second));
      }
    }
    for (std::size_t begin = 0; begin < found.size(); begin += page_size) {
      const std::size_t end = std::min(begin + page_size, found.size());
      page({found.begin() + static_cast<std::ptrdiff_t>(begin),
            found.begin() + static_cast<std::ptrdiff_t>(end)});
    }
  }

  ObjectInfo head(std::string_view key) override {
    const std::lock_guard lock(mutex_);
    return info(std::string(key), at(key));
  }

  std::vector<std::byte> read(std::string_view key) override {
    if (before_read) before_read(key, 0);
    ++reads;
    const std::lock_guard lock(mutex_);
    return at(key).bytes;
  }

  std::vector<std::byte> read(std::string_view key, std::uint64_t offset,
                              std::uint64_t length) override {
    if (before_read) before_read(key, offset);
    ++reads;
    const std::lock_guard lock(mutex_);
    const auto& bytes = at(key).bytes;
    if (offset > bytes.size() || length > bytes.size() - offset) {
      throw Error(ErrorCode::kDataLoss, uri(key) + " ends at byte " + std::to_string(bytes.size()));
    }
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return {begin, begin + static_cast<std::ptrdiff_t>(length)};
  }

  void put(std::string_view key, std::span<const std::byte> bytes) override {
    const std::lock_guard lock(mutex_);
    objects_[std::string(key)] = {.bytes = {bytes.begin(), bytes.end()}, .modified = ++clock_};
  }
  void put(std::string_view key, std::string_view text) {
    put(key, std::as_bytes(std::span(text)));
  }

  std::unique_ptr<ObjectWriter> writer(std::string_view key) override {
    return std::make_unique<Writer>(*this, std::string(key));
  }

  void remove(std::string_view key) override {
    const std::lock_guard lock(mutex_);
    objects_.erase(std::string(key));
  }

  std::vector<std::string> folders(std::string_view prefix) override {
    const std::lock_guard lock(mutex_);
    std::set<std::string> names;
    for (const auto& [key, object] : objects_) {
      if (!below(prefix, key)) continue;
      const std::string_view rest =
          std::string_view(key).substr(prefix.empty() ? 0 : prefix.size() + 1);
      if (rest.find('/') != rest.npos) names.emplace(rest.substr(0, rest.find('/')));
    }
    return {names.begin(), names.end()};
  }

  void remove_folder(std::string_view prefix) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(objects_, [&](const auto& object) { return below(prefix, object.first); });
  }

  void remove_unfinished(std::string_view) override {}  // an upload is not seen before its end

  std::size_t page_size = 3;
  bool tells_time = true;  ///< false: modified is 0, as of stores that do not say
  /// Called before each read, without a lock; may throw, as a store that fails.
  std::function<void(std::string_view key, std::uint64_t offset)> before_read;
  std::atomic<int> reads = 0;

 private:
  struct Object {
    std::vector<std::byte> bytes;
    std::int64_t modified = 0;
  };

  class Writer : public ObjectWriter {
   public:
    Writer(MemoryStore& store, std::string key) : store_(store), key_(std::move(key)) {}
    void write(std::span<const std::byte> bytes) override {
      bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }
    void commit() override { store_.put(key_, bytes_); }

   private:
    MemoryStore& store_;
    std::string key_;
    std::vector<std::byte> bytes_;
  };

  static bool below(std::string_view folder, std::string_view key) {
    if (folder.ends_with('/')) folder.remove_suffix(1);
    return folder.empty() ||
           (key.starts_with(folder) && key.substr(folder.size()).starts_with('/'));
  }
  ObjectInfo info(const std::string& key, const Object& object) const {
    return {.key = key, .size = object.bytes.size(), .modified = tells_time ? object.modified : 0};
  }
  std::string uri(std::string_view key) const { return root_.str() + "/" + std::string(key); }
  const Object& at(std::string_view key) const {
    const auto found = objects_.find(key);
    if (found == objects_.end()) throw Error(ErrorCode::kNotFound, uri(key) + " does not exist");
    return found->second;
  }

  Uri root_;
  mutable std::mutex mutex_;
  std::map<std::string, Object, std::less<>> objects_;
  std::int64_t clock_ = 0;
};

}  // namespace musher::test

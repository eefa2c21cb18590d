#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/config.h"
#include "storage/uri.h"

namespace musher {

/// One object, as a listing or a head request tells of it.
struct ObjectInfo {
  std::string key;  ///< relative to the store's root: what comes after the URI that the store was
                    ///< opened with
  std::uint64_t size = 0;     ///< bytes
  std::int64_t modified = 0;  ///< nanoseconds since the epoch; 0 where the store does not say
};

/// An upload under way. The object becomes visible, whole, at `commit()`; a writer that is
/// destroyed without it leaves nothing behind. One thread at a time.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
  virtual void commit() = 0;
};

/// Objects below one URI, `s3://bucket/prefix` or `file:///folder`, by key. Knows nothing of jobs
/// or images. Every call retries what a retry can help (5xx, time-outs, resets) with backoff and
/// jitter up to the policy's limit, and throws `Error` whose message holds the object's whole URI.
/// Thread-safe; calls of several threads run side by side.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  /// The URI that it was opened with, without a trailing slash.
  virtual const Uri& root() const = 0;

  /// Every object below `prefix` (a folder, "" for all), page by page, in no order that may be
  /// relied on. Returns having called `page` for each. A prefix that holds nothing calls it not at
  /// all; a missing bucket is kNotFound.
  virtual void list(std::string_view prefix,
                    const std::function<void(std::vector<ObjectInfo>)>& page) = 0;

  /// kNotFound where there is no such object.
  virtual ObjectInfo head(std::string_view key) = 0;

  /// The whole object.
  virtual std::vector<std::byte> read(std::string_view key) = 0;

  /// Exactly `length` bytes from `offset`; an object that ends earlier is kDataLoss, never a short
  /// read.
  virtual std::vector<std::byte> read(std::string_view key, std::uint64_t offset,
                                      std::uint64_t length) = 0;

  /// Creates or replaces the object, whole or not at all.
  virtual void put(std::string_view key, std::span<const std::byte> bytes) = 0;

  /// A multipart upload for what does not fit one call.
  virtual std::unique_ptr<ObjectWriter> writer(std::string_view key) = 0;

  /// An object that does not exist is no error.
  virtual void remove(std::string_view key) = 0;

  /// The names of the folders directly below `prefix`, in no order; also of those that hold just
  /// what a crashed upload left, where the scheme knows folders.
  virtual std::vector<std::string> folders(std::string_view prefix) = 0;

  /// Every object below the folder, and what there is of the folder itself, in no order and not at
  /// once: others see it go. One that does not exist is no error.
  virtual void remove_folder(std::string_view prefix) = 0;

  /// What crashed uploads left directly in the folder. REQUIRES: nobody writes there. Does nothing
  /// for S3, which shows no upload before its end; there a lifecycle rule removes such parts.
  virtual void remove_unfinished(std::string_view prefix) = 0;
};

/// The store for `uri`. Does not touch the network. kInvalidArgument for a scheme other than s3 and
/// file.
std::unique_ptr<ObjectStore> open_store(const Uri& uri, const StorageConfig& config);

/// Sorted by key: list() gathered.
std::vector<ObjectInfo> list_sorted(ObjectStore& store, std::string_view prefix);

/// Text of a small object.
std::string read_text(ObjectStore& store, std::string_view key);

}  // namespace musher

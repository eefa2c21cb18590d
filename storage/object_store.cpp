#include "storage/object_store.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <arrow/io/interfaces.h>
#include <arrow/util/future.h>
#include <arrow/util/io_util.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/format.h>

#include "common/error.h"
#include "storage/backend.h"
#include "storage/retry.h"
#include "storage/version.h"

namespace musher {
namespace {

/// Both schemes, over Arrow's file system interface.
class ArrowStore : public ObjectStore, public VersionedObjects {
 public:
  ArrowStore(Uri root, std::shared_ptr<Backend> backend, const StorageConfig& config)
      : root_(std::move(root)), backend_(std::move(backend)), config_(config) {}

  const Uri& root() const override { return root_; }
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
  ObjectVersion version(std::string_view key) override;
  std::vector<std::byte> read_known(std::string_view key, std::uint64_t size, std::uint64_t offset,
                                    std::uint64_t length) override;

 private:
  std::vector<arrow::fs::FileInfo> entries_of(const Uri& folder);
  Uri object_uri(std::string_view key) const;
  arrow::fs::FileInfo file_info(std::string_view action, const Uri& uri);
  std::vector<std::byte> read_range(const arrow::fs::FileInfo& info, const Uri& uri,
                                    std::uint64_t offset, std::uint64_t length);
  std::vector<ObjectInfo> objects_of(const std::vector<arrow::fs::FileInfo>& entries) const;

  const Uri root_;
  const std::shared_ptr<Backend> backend_;
  const StorageConfig config_;
};

Uri ArrowStore::object_uri(std::string_view key) const {
  Uri uri = root_.join(key);
  if (uri == root_ || key.ends_with('/')) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("\"{}\" below {} is no object's key: it names a folder", key, root_.str()));
  }
  return uri;
}

/// Arrow asks the server for the size; a size that we made up it would believe.
arrow::fs::FileInfo ArrowStore::file_info(std::string_view action, const Uri& uri) {
  auto info = backend_->files()->GetFileInfo(arrow_path(uri));
  if (!info.ok()) throw backend_->error(info.status(), action, uri);
  if (!info->IsFile()) throw backend_->missing(action, uri);
  return std::move(info).ValueOrDie();
}

std::int64_t nanoseconds_of(const arrow::fs::FileInfo& info) {
  return info.mtime() == arrow::fs::kNoTime ? 0 : info.mtime().time_since_epoch().count();
}

std::vector<ObjectInfo> ArrowStore::objects_of(
    const std::vector<arrow::fs::FileInfo>& entries) const {
  const std::string base = arrow_path(root_);
  const std::size_t skip = base.size() + (base.ends_with('/') ? 0 : 1);
  std::vector<ObjectInfo> objects;
  objects.reserve(entries.size());
  for (const auto& entry : entries) {
    if (!entry.IsFile() || backend_->is_temporary(entry.base_name())) continue;
    objects.push_back({entry.path().substr(skip), static_cast<std::uint64_t>(entry.size()),
                       nanoseconds_of(entry)});
  }
  return objects;
}

void ArrowStore::list(std::string_view prefix,
                      const std::function<void(std::vector<ObjectInfo>)>& page) {
  const Uri folder = root_.join(prefix);
  arrow::fs::FileSelector selector;
  selector.base_dir = arrow_path(folder);
  selector.recursive = true;
  selector.allow_not_found = true;
  const auto files = backend_->files();
  const auto generator = files->GetFileInfoGenerator(selector);
  bool empty = true;
  while (true) {
    const auto entries = generator().result();
    if (arrow::internal::ErrnoFromStatus(entries.status()) == ENOTDIR)
      break;  // a file: nothing is below it
    if (!entries.ok()) throw backend_->error(entries.status(), "list", folder);
    if (entries->empty()) break;  // Arrow's end mark
    auto objects = objects_of(*entries);
    if (objects.empty()) continue;
    empty = false;
    page(std::move(objects));
  }
  if (empty) {
    const RetryBudget budget(config_.retry_limit);
    backend_->check_empty_listing(folder);
  }
}

ObjectInfo ArrowStore::head(std::string_view key) {
  const RetryBudget budget(config_.retry_limit);
  const auto info = file_info("look up", object_uri(key));
  return {std::string(key), static_cast<std::uint64_t>(info.size()), nanoseconds_of(info)};
}

std::vector<std::byte> ArrowStore::read(std::string_view key) {
  const RetryBudget budget(config_.retry_limit);
  const Uri uri = object_uri(key);
  const auto info = file_info("read", uri);
  return read_range(info, uri, 0, static_cast<std::uint64_t>(info.size()));
}

std::vector<std::byte> ArrowStore::read(std::string_view key, std::uint64_t offset,
                                        std::uint64_t length) {
  const RetryBudget budget(config_.retry_limit);
  const Uri uri = object_uri(key);
  return read_range(file_info("read", uri), uri, offset, length);
}

std::vector<std::byte> ArrowStore::read_range(const arrow::fs::FileInfo& info, const Uri& uri,
                                              std::uint64_t offset, std::uint64_t length) {
  const auto size = static_cast<std::uint64_t>(info.size());
  if (offset > size || length > size - offset) {
    throw Error(ErrorCode::kDataLoss, fmt::format("read {}: it has {} bytes, wanted {} from {}",
                                                  uri.str(), size, length, offset));
  }
  std::vector<std::byte> bytes(length);
  if (length == 0) return bytes;
  // A body that ends early although its headers agree with that (something on the way cut it, or
  // the object shrank) is whole to Arrow, which then says `length` and leaves the rest of the
  // buffer as it was. So a mark is laid where the last byte belongs; who finds it there tries again
  // with the other mark, since the byte itself may be what the mark was.
  constexpr std::array kMarks = {std::byte{0xa5}, std::byte{0x5a}};
  for (std::size_t attempt = 0;; ++attempt) {
    const std::byte mark = kMarks[attempt % kMarks.size()];
    bytes.back() = mark;
    auto file = backend_->files()->OpenInputFile(info);
    if (!file.ok()) throw backend_->error(file.status(), "read", uri);
    const auto got = (*file)->ReadAt(static_cast<std::int64_t>(offset),
                                     static_cast<std::int64_t>(length), bytes.data());
    if (!got.ok()) throw backend_->error(got.status(), "read", uri);
    const bool whole = static_cast<std::uint64_t>(*got) == length;
    if (whole && (bytes.back() != mark || uri.scheme == "file")) return bytes;
    if (uri.scheme == "file") {
      throw Error(ErrorCode::kDataLoss, fmt::format("read {}: {} bytes came, wanted {} from {}",
                                                    uri.str(), *got, length, offset));
    }
    if (attempt > 0 && !pause_before_retry(config_, static_cast<std::int64_t>(attempt))) {
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("read {}: fewer than the {} bytes from {} came, again and again",
                              uri.str(), length, offset));
    }
  }
}

ObjectVersion ArrowStore::version(std::string_view key) {
  const RetryBudget budget(config_.retry_limit);
  const Uri uri = object_uri(key);
  if (uri.scheme != "s3") {
    const auto info = file_info("look up", uri);
    return {static_cast<std::uint64_t>(info.size()), fmt::format("{}", nanoseconds_of(info))};
  }
  // One HEAD, whose headers Arrow keeps.
  auto file = backend_->files()->OpenInputFile(arrow_path(uri));
  if (!file.ok()) throw backend_->error(file.status(), "look up", uri);
  const auto size = (*file)->GetSize();
  const auto headers = (*file)->ReadMetadata();
  if (!size.ok()) throw backend_->error(size.status(), "look up", uri);
  if (!headers.ok()) throw backend_->error(headers.status(), "look up", uri);
  const auto tag = *headers ? (*headers)->Get("ETag") : arrow::Result<std::string>("");
  return {static_cast<std::uint64_t>(*size), tag.ValueOr("")};
}

std::vector<std::byte> ArrowStore::read_known(std::string_view key, std::uint64_t size,
                                              std::uint64_t offset, std::uint64_t length) {
  const RetryBudget budget(config_.retry_limit);
  const Uri uri = object_uri(key);
  arrow::fs::FileInfo info(arrow_path(uri), arrow::fs::FileType::File);
  info.set_size(static_cast<std::int64_t>(size));
  return read_range(info, uri, offset, length);
}

void ArrowStore::put(std::string_view key, std::span<const std::byte> bytes) {
  const RetryBudget budget(config_.retry_limit);
  const auto upload = writer(key);
  upload->write(bytes);
  upload->commit();
}

std::unique_ptr<ObjectWriter> ArrowStore::writer(std::string_view key) {
  return backend_->writer(object_uri(key));
}

void ArrowStore::remove(std::string_view key) {
  const RetryBudget budget(config_.retry_limit);
  const Uri uri = object_uri(key);
  // In S3, Arrow then writes an empty "folder/" object, so that the folder outlives its last
  // object; listings skip it.
  const arrow::Status status = backend_->files()->DeleteFile(arrow_path(uri));
  if (status.ok()) return;
  const Error error = backend_->error(status, "remove", uri);
  if (error.code() != ErrorCode::kNotFound) throw error;
}

std::vector<arrow::fs::FileInfo> ArrowStore::entries_of(const Uri& folder) {
  const RetryBudget budget(config_.retry_limit);
  arrow::fs::FileSelector selector;
  selector.base_dir = arrow_path(folder);
  selector.allow_not_found = true;
  auto entries = backend_->files()->GetFileInfo(selector);
  if (!entries.ok()) throw backend_->error(entries.status(), "list", folder);
  return std::move(entries).ValueOrDie();
}

std::vector<std::string> ArrowStore::folders(std::string_view prefix) {
  std::vector<std::string> names;
  for (const auto& entry : entries_of(root_.join(prefix))) {
    if (entry.IsDirectory()) names.push_back(entry.base_name());
  }
  return names;
}

void ArrowStore::remove_folder(std::string_view prefix) {
  const RetryBudget budget(config_.retry_limit);
  const Uri uri = object_uri(prefix);
  const arrow::Status status = backend_->files()->DeleteDir(arrow_path(uri));
  if (status.ok()) return;
  const Error error = backend_->error(status, "remove", uri);
  if (error.code() != ErrorCode::kNotFound) throw error;
}

void ArrowStore::remove_unfinished(std::string_view prefix) {
  if (root_.scheme != "file") return;
  for (const auto& entry : entries_of(root_.join(prefix))) {
    if (!entry.IsFile() || !backend_->is_temporary(entry.base_name())) continue;
    const arrow::Status status = backend_->files()->DeleteFile(entry.path());
    if (!status.ok()) throw backend_->error(status, "remove", root_.join(prefix));
  }
}

}  // namespace

std::string arrow_path(const Uri& uri) {
  if (uri.bucket.empty()) return uri.path;
  return uri.path.empty() ? uri.bucket : uri.bucket + "/" + uri.path;
}

std::unique_ptr<ObjectStore> open_store(const Uri& uri, const StorageConfig& config) {
  std::shared_ptr<Backend> backend;
  if (uri.scheme == "s3") {
    backend = make_s3_backend(config);
  } else if (uri.scheme == "file") {
    backend = make_local_backend();
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the scheme is neither s3 nor file", uri.str()));
  }
  return std::make_unique<ArrowStore>(uri, std::move(backend), config);
}

std::vector<ObjectInfo> list_sorted(ObjectStore& store, std::string_view prefix) {
  std::vector<ObjectInfo> all;
  store.list(prefix, [&](std::vector<ObjectInfo> page) {
    all.insert(all.end(), std::make_move_iterator(page.begin()),
               std::make_move_iterator(page.end()));
  });
  std::sort(all.begin(), all.end(),
            [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
  return all;
}

std::string read_text(ObjectStore& store, std::string_view key) {
  const auto bytes = store.read(key);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace musher

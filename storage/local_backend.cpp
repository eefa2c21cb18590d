#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <system_error>

#include <arrow/filesystem/localfs.h>
#include <arrow/util/io_util.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "common/checksum.h"
#include "storage/backend.h"
#include "storage/new_file.h"
#include "storage/s3_errors.h"

namespace musher {
namespace {

constexpr std::string_view kTemporary = ".musher-upload-";

ErrorCode code_of_errno(int number) {
  switch (number) {
    case ENOENT:
      return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return ErrorCode::kResourceExhausted;
    case EISDIR:
    case ENOTDIR:
    case ENAMETOOLONG:
    case EEXIST:
    case ELOOP:
      return ErrorCode::kInvalidArgument;
    default:
      return ErrorCode::kInternal;
  }
}

Error errno_error(int number, std::string_view action, const Uri& uri) {
  return Error(code_of_errno(number),
               fmt::format("{} {}: {}", action, uri.str(), std::strerror(number)));
}

Error local_error(const arrow::Status& status, std::string_view action, const Uri& uri) {
  const int number = arrow::internal::ErrnoFromStatus(status);
  const std::string why = number != 0 ? std::strerror(number) : one_line(status.message());
  return Error(code_of_errno(number), fmt::format("{} {}: {}", action, uri.str(), why));
}

/// A rename lasts through a crash only once its folder is on the disk too.
void sync_folder(const std::string& folder, const Uri& uri) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw errno_error(errno, "write", uri);
  const int failed = fsync(descriptor) != 0 ? errno : 0;
  close(descriptor);
  if (failed != 0) throw errno_error(failed, "write", uri);
}

/// Writes beside the file under a name that listings leave out, and renames.
class LocalWriter : public ObjectWriter {
 public:
  LocalWriter(arrow::fs::FileSystem& files, const Uri& uri)
      : uri_(uri), folder_(uri.path.substr(0, std::max<std::size_t>(uri.path.rfind('/'), 1))) {
    std::random_device entropy;
    const std::uint64_t unique = (std::uint64_t{entropy()} << 32) | entropy();
    temporary_ =
        fmt::format("{}{}{}{}", folder_, folder_ == "/" ? "" : "/", kTemporary, hex64(unique));
    const auto made = files.CreateDir(folder_, /*recursive=*/true);
    if (!made.ok()) throw local_error(made, "write", uri_);
    named([&] { file_.emplace(temporary_); });
  }

  ~LocalWriter() override {
    if (!committed_ && file_) std::remove(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) override {
    named([&] { file_->write(bytes); });
  }

  void commit() override {
    named([&] { file_->sync(); });
    if (std::rename(temporary_.c_str(), uri_.path.c_str()) != 0) {
      throw errno_error(errno, "write", uri_);
    }
    committed_ = true;
    sync_folder(folder_, uri_);
  }

 private:
  template <typename Action>
  void named(Action&& action) const {
    try {
      action();
    } catch (const std::system_error& error) {
      throw errno_error(error.code().value(), "write", uri_);
    }
  }

  Uri uri_;
  std::string folder_;
  std::string temporary_;
  std::optional<NewFile> file_;
  bool committed_ = false;
};

class LocalBackend : public Backend {
 public:
  std::shared_ptr<arrow::fs::FileSystem> files() override { return files_; }
  std::unique_ptr<ObjectWriter> writer(const Uri& uri) override {
    return std::make_unique<LocalWriter>(*files_, uri);
  }
  Error error(const arrow::Status& status, std::string_view action, const Uri& uri) override {
    return local_error(status, action, uri);
  }
  Error missing(std::string_view action, const Uri& uri) override {
    return Error(ErrorCode::kNotFound,
                 fmt::format("{} {}: there is no such file", action, uri.str()));
  }
  void check_empty_listing(const Uri&) override {}  // a folder that is not there holds nothing
  bool is_temporary(std::string_view name) const override { return name.starts_with(kTemporary); }

 private:
  const std::shared_ptr<arrow::fs::FileSystem> files_ =
      std::make_shared<arrow::fs::LocalFileSystem>();
};

}  // namespace

std::shared_ptr<Backend> make_local_backend() {
  return std::make_shared<LocalBackend>();
}

}  // namespace musher

#include <cerrno>
#include <cstring>
#include <random>

#include <arrow/filesystem/localfs.h>
#include <arrow/io/file.h>
#include <arrow/util/io_util.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "common/checksum.h"
#include "storage/backend.h"
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

Error local_error(const arrow::Status& status, std::string_view action, const Uri& uri) {
  const int number = arrow::internal::ErrnoFromStatus(status);
  const std::string why = number != 0 ? std::strerror(number) : one_line(status.message());
  return Error(code_of_errno(number), fmt::format("{} {}: {}", action, uri.str(), why));
}

void sync(int descriptor, std::string_view action, const Uri& uri) {
  if (fsync(descriptor) != 0) {
    const int number = errno;
    throw Error(code_of_errno(number),
                fmt::format("{} {}: {}", action, uri.str(), std::strerror(number)));
  }
}

/// A rename lasts through a crash only once its folder is on the disk too.
void sync_folder(const std::string& folder, const Uri& uri) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    throw Error(code_of_errno(errno), fmt::format("write {}: {}", uri.str(), std::strerror(errno)));
  }
  try {
    sync(descriptor, "write", uri);
  } catch (...) {
    close(descriptor);
    throw;
  }
  close(descriptor);
}

/// Writes beside the file under a name that listings leave out, and renames.
class LocalWriter : public ObjectWriter {
 public:
  LocalWriter(std::shared_ptr<arrow::fs::FileSystem> files, const Uri& uri)
      : files_(std::move(files)),
        uri_(uri),
        folder_(uri.path.substr(0, std::max<std::size_t>(uri.path.rfind('/'), 1))) {
    std::random_device entropy;
    const std::uint64_t unique = (std::uint64_t{entropy()} << 32) | entropy();
    temporary_ =
        fmt::format("{}{}{}{}", folder_, folder_ == "/" ? "" : "/", kTemporary, hex64(unique));
    check(files_->CreateDir(folder_, /*recursive=*/true));
    auto stream = files_->OpenOutputStream(temporary_);
    check(stream.status());
    stream_ = std::move(stream).ValueOrDie();
  }

  ~LocalWriter() override {
    if (committed_) return;
    (void)stream_->Abort();
    (void)files_->DeleteFile(temporary_);
  }

  void write(std::span<const std::byte> bytes) override {
    check(stream_->Write(bytes.data(), static_cast<std::int64_t>(bytes.size())));
  }

  void commit() override {
    check(stream_->Flush());
    sync(dynamic_cast<arrow::io::FileOutputStream&>(*stream_).file_descriptor(), "write", uri_);
    check(stream_->Close());
    check(files_->Move(temporary_, uri_.path));
    committed_ = true;
    sync_folder(folder_, uri_);
  }

 private:
  void check(const arrow::Status& status) const {
    if (!status.ok()) throw local_error(status, "write", uri_);
  }

  std::shared_ptr<arrow::fs::FileSystem> files_;
  Uri uri_;
  std::string folder_;
  std::string temporary_;
  std::shared_ptr<arrow::io::OutputStream> stream_;
  bool committed_ = false;
};

class LocalBackend : public Backend {
 public:
  std::shared_ptr<arrow::fs::FileSystem> files() override { return files_; }
  std::unique_ptr<ObjectWriter> writer(const Uri& uri) override {
    return std::make_unique<LocalWriter>(files_, uri);
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

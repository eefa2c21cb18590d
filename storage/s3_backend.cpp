#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include <arrow/filesystem/s3fs.h>
#include <arrow/util/io_util.h>
#include <fmt/format.h>

#include "common/checksum.h"
#include "storage/backend.h"
#include "storage/retry.h"
#include "storage/s3_errors.h"

namespace musher {
namespace {

using std::chrono::milliseconds;

/// An abort on the way out must not hold the caller up for as long as a write may.
constexpr milliseconds kAbortLimit{5'000};
constexpr std::int64_t kPiece = 8 << 20;  // read back at a time
/// Room for a server's error document: Arrow reads one into the buffer that was meant for the
/// object.
constexpr std::int64_t kErrorDocument = 64 << 10;

void bring_up_s3() {
  arrow::fs::S3GlobalOptions options;
  options.log_level = arrow::fs::S3LogLevel::Off;
  options.num_event_loop_threads = 1;
  options.install_sigpipe_handler = true;  // TLS on a connection that the server closed raises it
  const arrow::Status status = arrow::fs::InitializeS3(options);
  if (!status.ok()) throw Error(ErrorCode::kInternal, one_line(status.message()));
}

struct S3Finalizer {
  ~S3Finalizer() { (void)arrow::fs::EnsureS3Finalized(); }
};

/// The AWS SDK comes up once in a process, at the first use of S3, and must go down before its
/// statics do: statics of these functions, then, destroyed at exit in reverse order. The finalizer
/// is made after the first file system, since making that makes a static of Arrow's that finalizing
/// needs.
arrow::Result<std::shared_ptr<arrow::fs::S3FileSystem>> make_s3_files(
    const std::function<arrow::fs::S3Options()>& options) {
  static std::once_flag up;
  std::call_once(up, bring_up_s3);
  auto files = arrow::fs::S3FileSystem::Make(options());
  static const S3Finalizer down;
  return files;
}

struct Endpoint {
  std::string scheme = "https";
  std::string authority;  // empty: AWS
};

Endpoint parse_endpoint(const std::string& text) {
  if (text.empty()) return {};
  const std::size_t colon = text.find("://");
  Endpoint endpoint{text.substr(0, colon), colon == text.npos ? "" : text.substr(colon + 3)};
  if (endpoint.authority.ends_with('/')) endpoint.authority.pop_back();
  if ((endpoint.scheme != "http" && endpoint.scheme != "https") || endpoint.authority.empty() ||
      endpoint.authority.find_first_of("/?#@ ") != std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the S3 endpoint \"{}\" (AWS_ENDPOINT_URL) is no http://host[:port] or "
                            "https://host[:port]",
                            text));
  }
  return endpoint;
}

/// The Arrow of the Python wheel looks where its own build machine kept them; Debian keeps them
/// elsewhere.
std::string system_ca_bundle() {
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem"}) {
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path;
  }
  return {};
}

arrow::fs::S3Options s3_options(const StorageConfig& config) {
  const Endpoint endpoint = parse_endpoint(config.s3_endpoint);
  auto options = arrow::fs::S3Options::Defaults();
  options.scheme = endpoint.scheme;
  options.endpoint_override = endpoint.authority;
  options.region = config.s3_region;
  options.connect_timeout = std::chrono::duration<double>(config.connect_timeout).count();
  options.request_timeout = std::chrono::duration<double>(config.request_timeout).count();
  options.retry_strategy = make_retry_strategy(config);
  options.tls_ca_file_path = config.ca_bundle.empty() ? system_ca_bundle() : config.ca_bundle;
  // A small object is one PUT, not a multipart upload of three requests.
  options.allow_delayed_open = true;
  // In the background Arrow would queue parts in memory without bound.
  options.background_writes = false;
  return options;
}

class S3Backend : public Backend, public std::enable_shared_from_this<S3Backend> {
 public:
  explicit S3Backend(const StorageConfig& config) : config_(config) {
    parse_endpoint(config.s3_endpoint);
  }

  std::shared_ptr<arrow::fs::FileSystem> files() override;
  std::unique_ptr<ObjectWriter> writer(const Uri& uri) override;
  Error error(const arrow::Status& status, std::string_view action, const Uri& uri) override;
  Error missing(std::string_view action, const Uri& uri) override;
  void check_empty_listing(const Uri& root) override;
  bool is_temporary(std::string_view) const override { return false; }

  milliseconds retry_limit() const { return config_.retry_limit; }

 private:
  bool bucket_exists(const std::string& bucket);
  std::string credential_problem(const S3Failure& failure, const Uri& uri);

  const StorageConfig config_;
  std::mutex mutex_;
  std::shared_ptr<arrow::fs::S3FileSystem> files_;  // guarded by mutex_
};

/// Keeps a stream for ever: after an abort that failed, its destructor would try to complete the
/// upload, and might succeed. Better a little memory than half an object.
void abandon(std::shared_ptr<arrow::io::OutputStream> stream) {
  static std::mutex mutex;
  // NOLINTNEXTLINE(*-avoid-non-const-global-variables)
  static auto* const kept = new std::vector<std::shared_ptr<arrow::io::OutputStream>>;
  std::lock_guard lock(mutex);
  kept->push_back(std::move(stream));
}

/// Arrow publishes what a stream holds when it is destroyed: so abort first, always.
class S3Writer : public ObjectWriter {
 public:
  S3Writer(std::shared_ptr<S3Backend> backend, const Uri& uri)
      : backend_(std::move(backend)), uri_(uri) {
    const RetryBudget budget(backend_->retry_limit());
    auto stream = backend_->files()->OpenOutputStream(arrow_path(uri_));
    check(stream.status());
    stream_ = std::move(stream).ValueOrDie();
  }

  ~S3Writer() override {
    if (committed_) return;
    const RetryBudget budget(std::min(backend_->retry_limit(), kAbortLimit));
    if (stream_->Abort().ok()) return;
    abandon(std::move(stream_));
  }

  void write(std::span<const std::byte> bytes) override {
    const RetryBudget budget(backend_->retry_limit());
    written_.add(bytes);
    check(stream_->Write(bytes.data(), static_cast<std::int64_t>(bytes.size())));
  }

  void commit() override {
    const RetryBudget budget(backend_->retry_limit());
    const arrow::Status status = stream_->Close();
    if (!status.ok()) {
      const Error error = backend_->error(status, "write", uri_);
      if (error.code() != ErrorCode::kFailedPrecondition || !is_there()) throw error;
    }
    committed_ = true;
  }

 private:
  /// Whether the object is, byte for byte, what was written. The server may have ended the upload
  /// and its answer been lost: it then knows no such upload when it is asked again.
  bool is_there() {
    const auto file = backend_->files()->OpenInputFile(arrow_path(uri_));
    if (!file.ok()) return false;
    const auto size = (*file)->GetSize();
    if (!size.ok() || static_cast<std::uint64_t>(*size) != written_.size()) return false;
    RunningHash found;
    std::vector<std::byte> piece(kPiece);
    while (found.size() < written_.size()) {
      const auto got = (*file)->Read(kPiece, piece.data());
      if (!got.ok() || *got <= 0) return false;
      found.add(std::span(piece).first(static_cast<std::size_t>(*got)));
    }
    return found.value() == written_.value();
  }

  void check(const arrow::Status& status) {
    if (!status.ok()) throw backend_->error(status, "write", uri_);
  }

  std::shared_ptr<S3Backend> backend_;
  Uri uri_;
  std::shared_ptr<arrow::io::OutputStream> stream_;
  RunningHash written_;
  bool committed_ = false;
};

std::shared_ptr<arrow::fs::FileSystem> S3Backend::files() {
  std::lock_guard lock(mutex_);
  if (!files_) {
    auto made = make_s3_files([this] { return s3_options(config_); });
    if (!made.ok()) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("can't set up S3: {}", one_line(made.status().message())));
    }
    files_ = std::move(made).ValueOrDie();
  }
  return files_;
}

std::unique_ptr<ObjectWriter> S3Backend::writer(const Uri& uri) {
  return std::make_unique<S3Writer>(shared_from_this(), uri);
}

Error S3Backend::error(const arrow::Status& status, std::string_view action, const Uri& uri) {
  if (arrow::internal::ErrnoFromStatus(status) == ENOENT) return missing(action, uri);
  const S3Failure failure = explain_s3_failure(status.message());
  std::string why = failure.why;
  if (failure.code == ErrorCode::kPermissionDenied) why = credential_problem(failure, uri);
  return Error(failure.code, fmt::format("{} {}: {}", action, uri.str(), why));
}

Error S3Backend::missing(std::string_view action, const Uri& uri) {
  const bool bucket = bucket_exists(uri.bucket);
  return Error(ErrorCode::kNotFound,
               fmt::format("{} {}: {}", action, uri.str(),
                           bucket ? "there is no such object"
                                  : fmt::format("the bucket {} does not exist", uri.bucket)));
}

void S3Backend::check_empty_listing(const Uri& root) {
  if (!bucket_exists(root.bucket)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("list {}: the bucket {} does not exist", root.str(), root.bucket));
  }
}

/// In doubt (no right to ask) it does.
bool S3Backend::bucket_exists(const std::string& bucket) {
  const auto info = files()->GetFileInfo(bucket);
  return !info.ok() || info->type() != arrow::fs::FileType::NotFound;
}

std::string S3Backend::credential_problem(const S3Failure& failure, const Uri& uri) {
  auto& s3 = dynamic_cast<arrow::fs::S3FileSystem&>(*files());
  const std::string key_id = s3.options().GetAccessKey();
  if (key_id.empty()) {
    return "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, "
           "or an instance role";
  }
  std::string why = failure.why;
  if (failure.vague) {
    arrow::fs::FileInfo info(arrow_path(uri), arrow::fs::FileType::File);
    info.set_size(kErrorDocument);
    std::array<char, kErrorDocument> document{};
    auto file = s3.OpenInputFile(info);
    auto asked = file.ok() ? (*file)->ReadAt(0, kErrorDocument, document.data())
                           : arrow::Result<std::int64_t>(file.status());
    if (!asked.ok()) {
      const S3Failure told = explain_s3_failure(asked.status().message());
      if (told.code == ErrorCode::kPermissionDenied) why = told.why;
    }
  }
  return fmt::format("access key id {}: {}", key_id, why);
}

}  // namespace

std::shared_ptr<Backend> make_s3_backend(const StorageConfig& config) {
  return std::make_shared<S3Backend>(config);
}

}  // namespace musher

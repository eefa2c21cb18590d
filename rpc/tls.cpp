#include "rpc/tls.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/loopback.h"

namespace musher {

namespace {

using grpc::experimental::FileWatcherCertificateProvider;

constexpr unsigned kLookSeconds = 60;

void check_private(const std::filesystem::path& file, const std::string& what) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0 || ::access(file.c_str(), R_OK) != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} {} can't be read: {}", what, file.string(), strerror(errno)));
  }
  if ((status.st_mode & 077) != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} {} can be read by others; `chmod 600` it, and make it anew where "
                            "they may have",
                            what, file.string()));
  }
}

void write_private(const std::filesystem::path& file, const std::string& text) {
  const std::string unfinished = file.string() + ".new";
  ::unlink(unfinished.c_str());
  const int descriptor =
      ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  const bool written = descriptor >= 0 && ::write(descriptor, text.data(), text.size()) ==
                                              static_cast<ssize_t>(text.size());
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!written || ::rename(unfinished.c_str(), file.c_str()) != 0) {
    throw Error(ErrorCode::kUnavailable, fmt::format("{} can't be written: {}", file.string(),
                                                     strerror(written ? errno : reason)));
  }
}

std::shared_ptr<FileWatcherCertificateProvider> provider(const std::filesystem::path& folder) {
  return std::make_shared<FileWatcherCertificateProvider>(
      folder / "key.pem", folder / "certificate.pem", folder / "ca.pem", kLookSeconds);
}

}  // namespace

void check_tls_folder(const std::filesystem::path& folder) {
  for (const char* name : {"ca.pem", "certificate.pem"}) {
    if (::access((folder / name).c_str(), R_OK) != 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{} can't be read: {}; `musher certs` makes such folders",
                              (folder / name).string(), strerror(errno)));
    }
  }
  check_private(folder / "key.pem", "the private key");
}

void write_tls_folder(const std::filesystem::path& folder, const std::string& authority,
                      const Identity& identity) {
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  write_private(folder / "ca.pem", authority);
  write_private(folder / "key.pem", identity.key);
  write_private(folder / "certificate.pem", identity.certificate);
}

std::string read_text_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} can't be read: {}", file.string(), strerror(errno)));
  }
  return text;
}

std::string read_private_line(const std::filesystem::path& file, const std::string& what) {
  check_private(file, what);
  const std::string text = read_text_file(file);
  std::string line = text.substr(0, text.find('\n'));
  if (line.empty()) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{} {} is empty", what, file.string()));
  }
  return line;
}

Endpoint Endpoint::parse(const std::string& text) {
  constexpr std::string_view kMark = "?tls=";
  const std::size_t mark = text.find(kMark);
  if (mark == std::string::npos) return {text, {}};
  return {text.substr(0, mark), text.substr(mark + kMark.size())};
}

std::string Endpoint::text() const {
  return tls.empty() ? address : address + "?tls=" + tls.string();
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const Endpoint& endpoint,
                                                              grpc::ChannelArguments& arguments) {
  const auto& [address, folder] = endpoint;
  if (folder.empty()) {
    if (is_loopback(address.substr(0, address.rfind(':')))) {
      return grpc::InsecureChannelCredentials();
    }
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the coordinator at {} is on another machine, which needs TLS: name "
                            "the folder of your certificate with --tls",
                            address));
  }
  check_tls_folder(folder);
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(provider(folder));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  // Whichever address it has: only coordinators of this authority have this name.
  arguments.SetSslTargetNameOverride(std::string(common_name(Role::kCoordinator)));
  return grpc::experimental::TlsCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> server_credentials(const std::filesystem::path& folder) {
  check_tls_folder(folder);
  grpc::experimental::TlsServerCredentialsOptions options(provider(folder));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace musher

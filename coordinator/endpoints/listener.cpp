#include "coordinator/endpoints/listener.h"

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/error.h"
#include "common/loopback.h"
#include "coordinator/process.h"
#include "rpc/tls.h"

namespace musher {
namespace {

constexpr std::string_view kAllAddresses = "0.0.0.0";

std::string address_of(const v1::EndpointRecord& record) {
  return record.address().empty() ? kLoopbackAddress : record.address();  // of before have none
}

}  // namespace

bool has_tls(const v1::EndpointRecord& record) {
  return !is_loopback(address_of(record));
}

void check_listener(const std::string& address, const std::string& keys,
                    const std::filesystem::path& tls) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("Address: must be an IPv4 address of the coordinator's machine, or "
                            "0.0.0.0 for all, not \"{}\"",
                            address));
  }
  if (is_loopback(address)) return;
  if (keys.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("Address: other machines could reach {}, where requests must be signed: "
                    "give Keys, a folder that `musher access` made",
                    address));
  }
  if (tls.empty()) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("Address: other machines could reach {}, which needs TLS: start the "
                            "coordinator with --tls",
                            address));
  }
  check_tls_folder(tls);
}

int free_port(const std::string& address, int port) {
  if (port < 0 || port > 65'535) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("Port: must be 1 to 65535, or 0 for a free one, not {}", port));
  }
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, address.c_str(), &where.sin_addr);
  const FileDescriptor probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t size = sizeof where;
  if (::bind(probe.get(), reinterpret_cast<const sockaddr*>(&where), size) != 0 ||
      ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&where), &size) != 0) {
    throw Error(errno == EADDRINUSE ? ErrorCode::kAlreadyExists : ErrorCode::kInvalidArgument,
                fmt::format("Port: {}:{} can't be had: {}", address, port, std::strerror(errno)));
  }
  return ntohs(where.sin_port);
}

std::string url_of(const v1::EndpointRecord& record, const std::string& host) {
  const std::string address = address_of(record);
  return fmt::format("{}://{}:{}", has_tls(record) ? "https" : "http",
                     address == kAllAddresses ? host : address, record.port());
}

std::string tls_identity(const std::filesystem::path& tls) {
  check_tls_folder(tls);
  return read_text_file(tls / "certificate.pem") + read_text_file(tls / "key.pem");
}

}  // namespace musher

#include "coordinator/server.h"

#include <cerrno>
#include <charconv>
#include <cstring>

#include <absl/synchronization/mutex.h>
#include <arpa/inet.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/loopback.h"
#include "coordinator/gatekeeper.h"
#include "coordinator/jobs_service.h"
#include "coordinator/process.h"
#include "coordinator/workers_service.h"
#include "rpc/tls.h"

namespace musher {

namespace {

constexpr int kMostMessageBytes = 64 << 20;  // a shard's block
constexpr auto kShutdownTime = std::chrono::seconds(2);

/// gRPC only says that it could not listen; this finds out why.
void check_free(const ListenAddress& address, const std::string& text) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(address.port));
  if (::inet_pton(AF_INET, address.host.c_str(), &where.sin_addr) != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "can't listen on " + text + ": " + address.host +
                    " is no IPv4 address; it must be one of this machine's, or 0.0.0.0 for all");
  }
  const FileDescriptor probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(probe.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0) return;
  if (errno == EADDRINUSE) {
    throw Error(ErrorCode::kAlreadyExists,
                "another process listens on " + text + "; choose another port with --listen");
  }
  throw Error(ErrorCode::kInvalidArgument, "can't listen on " + text + ": " + strerror(errno));
}

}  // namespace

ListenAddress ListenAddress::parse(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  ListenAddress address;
  const char* end = text.data() + text.size();
  if (colon != text.npos) {
    address.host = text.substr(0, colon);
    const auto [last, error] = std::from_chars(text.data() + colon + 1, end, address.port);
    if (!address.host.empty() && error == std::errc() && last == end && address.port >= 0 &&
        address.port <= 65'535) {
      return address;
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              "\"" + text + "\" is no address: it must be HOST:PORT, e.g. 127.0.0.1:7077");
}

class Server::Impl {
 public:
  Impl(Coordinator& coordinator, const std::string& listen, const std::filesystem::path& tls,
       const std::vector<grpc::Service*>& further)
      : coordinator_(coordinator), jobs_(coordinator), workers_(coordinator) {
    ListenAddress address = ListenAddress::parse(listen);
    if (address.host == "localhost") address.host = "127.0.0.1";
    if (tls.empty() && !is_loopback(address.host)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--listen " + listen +
                      ": other machines could reach this, which needs TLS: make certificates with "
                      "`musher certs` and name their folder with --tls, or listen on a loopback "
                      "address, e.g. 127.0.0.1:7077");
    }
    check_free(address, listen);
    // Debian's Abseil looks for cycles among gRPC's locks at each of them: a tenth of a call's
    // time.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address.host + ":" + std::to_string(address.port), credentials(tls),
                             &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    // Of thousands of connections that are quiet most of the time: after a pause gRPC would measure
    // the line with a ping of its own behind each call, and keep buffers and records for each.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0);
    builder.SetMaxReceiveMessageSize(kMostMessageBytes);
    builder.SetMaxSendMessageSize(kMostMessageBytes);
    builder.RegisterService(&jobs_);
    builder.RegisterService(&workers_);
    for (grpc::Service* service : further) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    if (!server_ || port == 0) {
      throw Error(ErrorCode::kAlreadyExists, "can't listen on " + listen);
    }
    address_ = address.host + ":" + std::to_string(port);
  }

  ~Impl() {
    coordinator_.shut_down();
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + kShutdownTime);
  }

  const std::string& address() const { return address_; }

 private:
  std::shared_ptr<grpc::ServerCredentials> credentials(const std::filesystem::path& tls) {
    if (tls.empty()) return grpc::InsecureServerCredentials();
    auto result = server_credentials(tls);
    result->SetAuthMetadataProcessor(std::make_shared<Gatekeeper>(
        tls / "ca.pem", coordinator_.refusals(), coordinator_.logger()));
    return result;
  }

  Coordinator& coordinator_;
  JobsService jobs_;
  WorkersService workers_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

Server::Server(Coordinator& coordinator, const std::string& listen,
               const std::filesystem::path& tls, const std::vector<grpc::Service*>& further)
    : impl_(std::make_unique<Impl>(coordinator, listen, tls, further)) {}
Server::~Server() = default;
const std::string& Server::address() const {
  return impl_->address();
}

}  // namespace musher

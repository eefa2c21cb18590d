#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace musher {

/// What HAProxy is told once, at its start. Instances are added later, while it runs.
struct ProxyOptions {
  int port = 0;            ///< on 127.0.0.1
  bool is_signed = false;  ///< requests are: instances remember signatures
  int max_connections = 4'000;
};

/// HAProxy's configuration: least outstanding requests, a health check by /ping each second, and
/// another instance for a request where the first refused the connection, thus never saw it. A
/// request that an instance had already read is not sent again: one that kills instances would
/// kill them all. /ping says whether any instance is in service. Its own errors are JSON with
/// Retry-After. The runtime API is at haproxy.sock in the folder that HAProxy was started in.
/// Where an instance dies HAProxy answers 502 to the first request of a connection, but closes
/// the connection without an answer on a later one. So each request makes its way to the instances
/// as the first of a connection within HAProxy, and clients keep theirs. Metrics are not of the
/// endpoint but of each instance, and are asked for there.
/// https://docs.haproxy.org/2.6/configuration.html
std::string proxy_config(const ProxyOptions& options);

/// The name that the instances' group has in the configuration.
inline constexpr std::string_view kProxyBackend = "instances";

struct ProxyServer {
  enum class State { kServing, kDown, kDraining, kMaintenance };
  State state = State::kServing;
  int sessions = 0;                ///< requests under way
  std::int64_t state_seconds = 0;  ///< since it last went up or down
};

struct ProxyStats {
  std::map<std::string, ProxyServer> servers;  ///< by the instance's name
  std::uint64_t requests = 0;                  ///< that came for instances, since HAProxy's start
};

/// The answer to `show stat`. kDataLoss where it is no such.
ProxyStats parse_proxy_stats(std::string_view csv);

}  // namespace musher

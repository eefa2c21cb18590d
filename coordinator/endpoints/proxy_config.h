#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace musher {

/// The file in HAProxy's folder where `certificate` is, for its owner alone.
inline constexpr std::string_view kCertificateFile = "tls.pem";
/// Likewise `authority`.
inline constexpr std::string_view kAuthorityFile = "authority.pem";

/// What HAProxy is told once, at its start. Instances are added later, while it runs.
struct ProxyOptions {
  std::string address = "127.0.0.1";  ///< to listen on
  int port = 0;
  std::string certificate;  ///< with its private key, PEM, for TLS; empty: without
  bool is_signed = false;   ///< requests are: instances remember signatures
  int max_connections = 4'000;
  /// For instances on other hosts, which are reached over TLS: the certificate of the authority
  /// that theirs must be of, PEM; empty: there are none.
  std::string authority = {};
  std::string token = {};  ///< that they want of each request
};

/// The name that instances' certificates have: those of a TLS folder's `server`.
inline constexpr std::string_view kInstanceCertificateName = "musher-server";
/// In which they want the token.
inline constexpr std::string_view kTokenHeader = "X-Musher-Token";

/// Where an instance listens, and whether that is another host, over TLS.
struct ProxyTarget {
  std::string address = "127.0.0.1";
  int port = 0;
  bool tls = false;
};

/// What the runtime API is told to add an instance.
std::string add_server_command(const std::string& instance, const ProxyTarget& target);

/// Bytes, header included, up to which a request is kept until its answer comes.
inline constexpr int kResendLimit = 1 << 20;

/// HAProxy's configuration, a secret where there is a token: least outstanding requests, and a
/// health check by /ping each second. Answers of HAProxy itself are JSON with X-Amzn-RequestId, 5xx
/// with Retry-After. /ping says whether any instance is in service. The runtime API is at
/// haproxy.sock in the folder that HAProxy was started in.
///
/// A request that an instance did not take is sent to up to three others. One that an instance had
/// read when it ended is sent twice more, since to infer again does no harm, and no oftener, since
/// a request that ends instances would end them all. Twice, since one death can take it twice:
/// Linux closes the connections of a killed process before its listening socket, which in between
/// takes the request again. So there are two rooms within HAProxy: the inner one, `within`, counts
/// the former, the outer one, `endpoint`, the latter. It keeps the request, up to kResendLimit.
/// That each request makes its way to the instances as the first of a connection has another
/// reason, too: where an instance dies HAProxy answers 502 to that, but closes the connection
/// without an answer on a later one. Clients keep theirs.
///
/// Metrics are not of the endpoint but of each instance, and are asked for there.
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

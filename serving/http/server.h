#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/deadline.h"
#include "serving/http/exchange.h"

namespace musher {

/// One request that was answered, for logs and metrics.
struct AccessRecord {
  std::string id;
  std::string method, target;  ///< empty where they could not be read
  std::string peer;            ///< IP:PORT of the client
  int status = 0;
  std::uint64_t bytes = 0;                         ///< of the answer's body
  std::chrono::steady_clock::duration duration{};  ///< from the first byte read to the last written
  int upstream_status = 0;                         ///< as in HttpResponse
  std::chrono::steady_clock::duration upstream_time{};
};

/// The certificate that a server shows, in PEM.
struct TlsOptions {
  std::string certificate;  ///< a file: its own, then those between it and the authority
  std::string key;          ///< a file that its owner alone may read
  /// How often the files are looked at, so that a certificate may be renewed while the server runs.
  std::chrono::milliseconds look_every{60'000};
  /// That new files could not be used and the old go on; called on I/O threads.
  std::function<void(const std::string&)> notice;
};

/// The `certificate.pem` and `key.pem` of a TLS folder, as `musher certs` makes them.
TlsOptions tls_folder(const std::string& folder);

struct HttpServerOptions {
  std::string address = "127.0.0.1";      ///< an IP
  std::uint16_t port = 0;                 ///< 0: a free one
  int threads = 1;                        ///< for I/O
  std::uint64_t body_limit = 6 << 20;     ///< bytes; above: 413
  std::uint32_t header_limit = 16 << 10;  ///< bytes; above: 431
  std::uint64_t buffer_limit = 1 << 30;   ///< bytes of all bodies being read or handled; above: 503
  std::size_t max_connections = 16'384;   ///< others wait in the kernel to be accepted
  /// A request must be there whole so long after its first byte: else 408.
  std::chrono::milliseconds request_timeout{30'000};
  std::chrono::milliseconds write_timeout{30'000};
  std::chrono::milliseconds idle_timeout{60'000};       ///< between requests; then closed
  std::function<void(const AccessRecord&)> access_log;  ///< called on I/O threads
  std::optional<TlsOptions> tls;                        ///< HTTPS; empty: HTTP
};

/// HTTP/1.1 on one address, in threads of its own: keep-alive, pipelining one after another,
/// chunked bodies, `Expect: 100-continue`. What can't be read is answered 400, 408, 413 or 431 and
/// the connection closed. A handler that throws gives 500.
class HttpServer {
 public:
  /// Listens. kUnavailable where the address can't be had; kInvalidArgument or kFailedPrecondition
  /// naming a file of the certificate that can't be used.
  HttpServer(HttpServerOptions options, HttpHandler handler);
  ~HttpServer();  ///< at once: requests under way get no answer
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  std::size_t connections() const;

  /// Accepts nothing new, lets each request under way have its answer (`Connection: close`) and
  /// closes. Whether all had theirs by then. Once.
  bool drain(Deadline deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

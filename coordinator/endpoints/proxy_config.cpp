#include "coordinator/endpoints/proxy_config.h"

#include <array>
#include <charconv>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::string_view kConfig = R"(# Made by musher serve; instances are added at run time.
global
  stats socket unix@haproxy.sock mode 600 level admin
  stats timeout 1m
  log stderr format raw local0 notice
  noreuseport
  maxconn {max_connections}
  hard-stop-after 90s
  tune.bufsize {resend_limit}

defaults
  mode http
  log global
  option dontlognull
  timeout connect 2s
  timeout check 2s
  timeout queue 10s
  timeout client 75s
  timeout server 75s
  timeout http-request 30s
  timeout http-keep-alive 60s
{errors}
frontend endpoint
  bind {address}:{port}{tls}
  monitor-uri /ping
  acl none nbsrv({backend}) lt 1
  monitor fail if none
  option http-buffer-request
  unique-id-format %[uuid()]
  http-request set-var(txn.id) unique-id
  http-request set-var(txn.id) req.hdr({id}) if {{ req.hdr({id}) -m reg ^[A-Za-z0-9-]{{1,64}}$ }}
  http-request set-header {id} %[var(txn.id)] unless {{ req.hdr({id}) -m found }}
  http-after-response set-header {id} %[var(txn.id)] if {{ var(txn.id) -m found }} !{{ res.hdr({id}) -m found }}
  http-after-response set-header {id} %[unique-id] unless {{ res.hdr({id}) -m found }}
  http-request deny deny_status 404 if {{ path /metrics }}
  default_backend entrance

backend entrance
  retries 2
  retry-on conn-failure 502{retry}
  server within unix@entrance.sock

frontend within
  bind unix@entrance.sock mode 600
  option httpclose
  default_backend {backend}

backend {backend}
  balance leastconn
  option httpchk GET /ping
{check}  http-check expect status 200
  retries 3
  option redispatch 1
  retry-on conn-failure
)";

// A signature that comes again goes to the instance that took it first and refuses it.
constexpr std::string_view kSticky = R"(  stick-table type binary len 32 size 1m expire 31m
  stick on req.hdr(authorization),sha2(256)
)";

// A server that is added later can have an authority only that is there from the beginning.
constexpr std::string_view kAuthority = R"(
backend authority
  server nobody 127.0.0.1:9 disabled ssl verify required ca-file {file}
)";

constexpr std::string_view kRequestId = "X-Amzn-RequestId";

/// What HAProxy answers itself, in the form of musher-endpoint's errors. No apostrophes: in the
/// configuration a message stands between two. What can't be read as HTTP gets a
/// page that is compiled into HAProxy 2.6, whatever is configured
/// (https://github.com/haproxy/haproxy/issues/3032).
struct OwnError {
  int status;
  std::string_view type, message;
};

constexpr std::array kOwnErrors = {
    OwnError{400, "BadRequest", "The request can not be read."},
    OwnError{404, "ResourceNotFound", "There is no such page; metrics are at each instance."},
    OwnError{408, "RequestTimeout", "The request took too long to come."},
    OwnError{500, "InternalFailure", "HAProxy failed."},
    OwnError{502, "InternalDependencyException", "The instance ended before it answered."},
    OwnError{503, "ServiceUnavailable", "No instance of the endpoint can take the request now."},
    OwnError{504, "ServiceUnavailable", "The instance did not answer in time."}};

std::string error_lines() {
  std::string lines;
  for (const OwnError& error : kOwnErrors) {
    lines += fmt::format(
        "  http-error status {} content-type application/json string '{{\"message\":\"{}\"}}' "
        "hdr x-amzn-ErrorType {}{}\n",
        error.status, error.message, error.type, error.status >= 500 ? " hdr Retry-After 1" : "");
  }
  return lines;
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = line.find(separator);
    parts.push_back(line.substr(0, end));
    if (end == line.npos) return parts;
    line.remove_prefix(end + 1);
  }
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;  // 0 for an empty field
}

ProxyServer::State state_of(std::string_view status) {
  using State = ProxyServer::State;
  if (status.starts_with("MAINT")) return State::kMaintenance;
  if (status.starts_with("DRAIN")) return State::kDraining;
  // "DOWN 1/2" is on its way up, "UP 1/3" on its way down.
  return status.starts_with("DOWN") ? State::kDown : State::kServing;
}

/// A row by the header's names.
class Rows {
 public:
  explicit Rows(std::string_view header) {
    if (!header.starts_with("# pxname,svname,"))
      throw Error(ErrorCode::kDataLoss, "HAProxy's answer to `show stat` is no table");
    header.remove_prefix(2);
    names_ = split(header, ',');
  }
  std::string_view field(const std::vector<std::string_view>& row, std::string_view name) const {
    for (std::size_t i = 0; i < names_.size() && i < row.size(); ++i) {
      if (names_[i] == name) return row[i];
    }
    throw Error(ErrorCode::kDataLoss,
                fmt::format("HAProxy's answer to `show stat` has no {}", name));
  }

 private:
  std::vector<std::string_view> names_;
};

}  // namespace

std::string proxy_config(const ProxyOptions& options) {
  const std::string tls =
      options.certificate.empty()
          ? ""
          : fmt::format(" ssl crt {} ssl-min-ver TLSv1.2 alpn http/1.1", kCertificateFile);
  const bool others = !options.authority.empty();
  const std::string check = others ? fmt::format(
                                         "  http-check send hdr {0} {1}\n"
                                         "  http-request set-header {0} {1}\n",
                                         kTokenHeader, options.token)
                                   : "";
  std::string text = fmt::format(
      kConfig, fmt::arg("check", check), fmt::arg("retry", others ? " empty-response" : ""),
      fmt::arg("max_connections", options.max_connections), fmt::arg("resend_limit", kResendLimit),
      fmt::arg("errors", error_lines()), fmt::arg("address", options.address), fmt::arg("tls", tls),
      fmt::arg("port", options.port), fmt::arg("backend", kProxyBackend),
      fmt::arg("id", kRequestId));
  if (options.is_signed) text.append(kSticky);
  if (others) text += fmt::format(kAuthority, fmt::arg("file", kAuthorityFile));
  return text;
}

std::string add_server_command(const std::string& instance, const ProxyTarget& target) {
  // A host that is gone tells nobody who waits for its answer: those requests are ended here, which
  // to the outer room is an empty response.
  const std::string tls = target.tls
                              ? fmt::format(
                                    " ssl check-ssl verify required ca-file {} verifyhost {} "
                                    "on-marked-down shutdown-sessions",
                                    kAuthorityFile, kInstanceCertificateName)
                              : "";
  // It answered /ping a moment ago, so it is up until it fails to three times, or once to take a
  // connection: HAProxy waits a second after that, which one request may have to, and not all.
  return fmt::format(
      "add server {0} {1}:{2}{3} check inter 1s fastinter 500ms fall 3 rise 1 "
      "observe layer4 error-limit 1 on-error mark-down; "
      "enable health {0}; enable server {0}",
      fmt::format("{}/{}", kProxyBackend, instance), target.address, target.port, tls);
}

ProxyStats parse_proxy_stats(std::string_view csv) {
  ProxyStats stats;
  std::optional<Rows> rows;
  for (const std::string_view line : split(csv, '\n')) {
    if (line.empty()) continue;
    if (!rows) {
      rows.emplace(line);
      continue;
    }
    const auto row = split(line, ',');
    if (rows->field(row, "pxname") != kProxyBackend) continue;
    const std::string name(rows->field(row, "svname"));
    if (name == "BACKEND") {
      stats.requests = number(rows->field(row, "req_tot"));
      continue;
    }
    ProxyServer& server = stats.servers[name];
    server.state = state_of(rows->field(row, "status"));
    server.sessions = static_cast<int>(number(rows->field(row, "scur")));
    server.state_seconds = static_cast<std::int64_t>(number(rows->field(row, "lastchg")));
  }
  if (!rows) throw Error(ErrorCode::kDataLoss, "HAProxy's answer to `show stat` is empty");
  return stats;
}

}  // namespace musher

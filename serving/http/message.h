#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace musher {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// A whole request. A value.
struct HttpRequest {
  std::string method;
  std::string target;   ///< as on the wire: `/path?query`
  HttpHeaders headers;  ///< as they came
  std::string body;
  std::string id;  ///< X-Amzn-RequestId: the caller's where it sent one, else new

  /// The first of that name in any case; empty where there is none.
  std::string_view header(std::string_view name) const;
  /// The target without its query.
  std::string_view path() const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type;  ///< empty: no such header
  std::string body;
  HttpHeaders headers;  ///< beside Content-Type, Content-Length, Connection and X-Amzn-RequestId
  /// For logs and metrics, as nginx has it: what answered behind whoever answers here, and how long
  /// it took. 0: nothing behind was asked.
  int upstream_status = 0;
  std::chrono::steady_clock::duration upstream_time{};
};

/// As AWS's JSON services answer: `{"message": …}` with `x-amzn-ErrorType: code`. 429 and 503 get
/// `Retry-After: 1`.
HttpResponse http_error(int status, std::string_view code, std::string_view message);

bool same_header_name(std::string_view a, std::string_view b);

}  // namespace musher

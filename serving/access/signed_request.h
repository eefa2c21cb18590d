#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace musher {

/// An HTTP request as it came in, as far as its signature goes. Views: what they look at must
/// outlive it.
struct SignedRequest {
  std::string_view method;
  std::string_view target;  ///< as on the wire: `/path?query`
  std::vector<std::pair<std::string_view, std::string_view>> headers;  ///< in any order and case
  std::string_view body;                                               ///< whole

  /// The values of all headers of this name (lower case), trimmed, inner runs of blanks made one,
  /// joined by commas: SigV4's canonical value.
  std::string canonical_header(std::string_view name) const;
  bool has_header(std::string_view name) const;
};

/// The canonical request of "Create a signed AWS API request" (AWS IAM User Guide), for services
/// other than S3: dot segments and double slashes are taken out of the path, which is then encoded
/// once more; `signed_headers` in the order given.
std::string canonical_request(const SignedRequest& request,
                              const std::vector<std::string>& signed_headers);

/// Everything but RFC 3986's unreserved characters as %XX; `keep_slash` for paths.
std::string uri_encode(std::string_view text, bool keep_slash);

/// %XX to bytes; what is no such escape stays.
std::string uri_decode(std::string_view text);

/// ASCII alone, whatever the locale.
std::string lower_case(std::string_view text);

}  // namespace musher

#include "serving/function/s3_url.h"

#include <regex>

#include "serving/access/signed_request.h"

namespace musher {
std::string s3_uri_of(const std::string& url) {
  constexpr std::size_t kMostBytes = 2048;  // as browsers; a key has 1024 at most
  if (url.size() > kMostBytes) return url;
  // A query may say which version or sign the URL: what it asks for is not what would be read.
  static const std::regex path_style(
      R"(https://s3([.-][a-z0-9-]+)?\.amazonaws\.com/([^/?#]+)/([^?#]+))");
  static const std::regex host_style(
      R"(https://([a-z0-9.-]+)\.s3([.-][a-z0-9-]+)?\.amazonaws\.com/([^?#]+))");
  std::smatch match;
  if (std::regex_match(url, match, path_style))
    return "s3://" + match[2].str() + "/" + uri_decode(match[3].str());
  if (std::regex_match(url, match, host_style))
    return "s3://" + match[1].str() + "/" + uri_decode(match[3].str());
  return url;
}

}  // namespace musher

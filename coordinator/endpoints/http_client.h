#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace musher {

/// One HTTP request, by libcurl. No proxy, no redirects.
struct HttpCall {
  std::string url;
  bool post = false;
  std::string body;                  ///< of a POST
  std::vector<std::string> headers;  ///< "Name: value"
  std::chrono::milliseconds timeout{2'000};
  /// Not empty: signed by AWS Signature V4 for this region and service with the key.
  std::string region, service, key_id, secret;
};

struct HttpReply {
  int status = 0;
  std::string content_type;
  std::string body;
};

/// kUnavailable where there is no answer, kDeadlineExceeded where it takes too long.
HttpReply http_call(const HttpCall& call);

}  // namespace musher

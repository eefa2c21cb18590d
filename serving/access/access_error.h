#pragma once

#include <string>

namespace musher {

/// Why a request is refused, as AWS says it. A value: that callers are refused is expected.
struct AccessError {
  int status = 403;     ///< of HTTP
  std::string code;     ///< for `x-amzn-ErrorType`, e.g. "AccessDeniedException"
  std::string message;  ///< for people; holds no secret and no signature
};

}  // namespace musher

#pragma once

#include <string>

#include "serving/http/exchange.h"

namespace musher {

/// Hands requests whose X-Musher-Token is `token` on to `next`; all others are answered 403. For a
/// server that one other program alone may ask, over TLS. How long the comparison takes does not
/// tell how much of a token was right.
HttpHandler require_token(std::string token, HttpHandler next);

}  // namespace musher

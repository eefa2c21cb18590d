#include "serving/http/token_gate.h"

#include <string_view>
#include <utility>

#include <openssl/crypto.h>

namespace musher {
namespace {

constexpr std::string_view kTokenHeader = "X-Musher-Token";

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

HttpHandler require_token(std::string token, HttpHandler next) {
  return [token = std::move(token), next = std::move(next)](HttpRequest request,
                                                            std::shared_ptr<Exchange> exchange) {
    if (same(request.header(kTokenHeader), token))
      return next(std::move(request), std::move(exchange));
    exchange->answer(
        http_error(403, "AccessDeniedException", "X-Musher-Token is missing or not the right one"));
  };
}

}  // namespace musher

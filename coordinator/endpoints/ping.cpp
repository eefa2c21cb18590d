#include "coordinator/endpoints/ping.h"

#include <memory>

#include <curl/curl.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

std::size_t ignore(char*, std::size_t size, std::size_t count, void*) {
  return size * count;
}

template <typename Value>
void set(CURL* handle, CURLoption option, Value value) {
  if (curl_easy_setopt(handle, option, value) != CURLE_OK)
    throw Error(ErrorCode::kInternal, fmt::format("libcurl refuses option {}", int{option}));
}

}  // namespace

bool answers_ping(int port, std::chrono::milliseconds timeout) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> owner(curl_easy_init(),
                                                                  &curl_easy_cleanup);
  CURL* handle = owner.get();
  if (handle == nullptr) throw Error(ErrorCode::kResourceExhausted, "libcurl can't be used");
  set(handle, CURLOPT_URL, fmt::format("http://127.0.0.1:{}/ping", port).c_str());
  set(handle, CURLOPT_PROTOCOLS_STR, "http");
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_NOPROXY, "*");
  set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  set(handle, CURLOPT_WRITEFUNCTION, &ignore);
  long status = 0;
  return curl_easy_perform(handle) == CURLE_OK &&
         curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
}

}  // namespace musher

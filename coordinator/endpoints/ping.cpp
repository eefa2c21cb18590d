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

using CurlList = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

CurlList list_of(const std::string& word) {
  CurlList list(curl_slist_append(nullptr, word.c_str()), &curl_slist_free_all);
  if (!list) throw Error(ErrorCode::kResourceExhausted, "libcurl has no memory");
  return list;
}

}  // namespace

bool answers_ping(const ProxyTarget& target, const PingAccess& access,
                  std::chrono::milliseconds timeout) {
  CurlList hosts(nullptr, &curl_slist_free_all);  // outlive the handle
  CurlList headers(nullptr, &curl_slist_free_all);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> owner(curl_easy_init(),
                                                                  &curl_easy_cleanup);
  CURL* handle = owner.get();
  if (handle == nullptr) throw Error(ErrorCode::kResourceExhausted, "libcurl can't be used");
  std::string name = target.address;
  if (target.tls) {
    name = kInstanceCertificateName;  // which the certificate has, whatever the address
    hosts = list_of(fmt::format("{}:{}:{}", name, target.port, target.address));
    headers = list_of(fmt::format("{}: {}", kTokenHeader, access.token));
    set(handle, CURLOPT_CAINFO, access.authority.c_str());
    set(handle, CURLOPT_RESOLVE, hosts.get());
    set(handle, CURLOPT_HTTPHEADER, headers.get());
  }
  const char* scheme = target.tls ? "https" : "http";
  set(handle, CURLOPT_URL, fmt::format("{}://{}:{}/ping", scheme, name, target.port).c_str());
  set(handle, CURLOPT_PROTOCOLS_STR, scheme);
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_NOPROXY, "*");
  set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  set(handle, CURLOPT_WRITEFUNCTION, &ignore);
  long status = 0;
  return curl_easy_perform(handle) == CURLE_OK &&
         curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
}

}  // namespace musher

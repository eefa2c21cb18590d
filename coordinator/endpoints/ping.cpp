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

/// A list as libcurl takes it.
class Words {
 public:
  Words() = default;
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  ~Words() { curl_slist_free_all(first_); }
  void add(const std::string& word) {
    curl_slist* longer = curl_slist_append(first_, word.c_str());
    if (longer == nullptr) throw Error(ErrorCode::kResourceExhausted, "libcurl has no memory");
    first_ = longer;
  }
  curl_slist* get() const { return first_; }

 private:
  curl_slist* first_ = nullptr;
};

}  // namespace

bool answers_ping(const ProxyTarget& target, const PingAccess& access,
                  std::chrono::milliseconds timeout) {
  Words hosts;  // outlive the handle
  Words headers;
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> owner(curl_easy_init(),
                                                                  &curl_easy_cleanup);
  CURL* handle = owner.get();
  if (handle == nullptr) throw Error(ErrorCode::kResourceExhausted, "libcurl can't be used");
  std::string name = target.address;
  if (target.tls) {
    name = kInstanceCertificateName;  // which the certificate has, whatever the address
    hosts.add(fmt::format("{}:{}:{}", name, target.port, target.address));
    headers.add(fmt::format("{}: {}", kTokenHeader, access.token));
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

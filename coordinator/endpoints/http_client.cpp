#include "coordinator/endpoints/http_client.h"

#include <memory>

#include <curl/curl.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

std::size_t append(char* data, std::size_t size, std::size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

struct CurlDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

template <typename Value>
void set(CURL* handle, CURLoption option, Value value) {
  if (curl_easy_setopt(handle, option, value) != CURLE_OK)
    throw Error(ErrorCode::kInternal, fmt::format("libcurl refuses option {}", int{option}));
}

/// Owns what libcurl does not copy, until the call is over.
struct Prepared {
  std::unique_ptr<CURL, CurlDeleter> handle;
  std::unique_ptr<curl_slist, CurlDeleter> headers;
};

void add_header(Prepared& prepared, const std::string& line) {
  curl_slist* longer = curl_slist_append(prepared.headers.get(), line.c_str());
  if (longer == nullptr) throw Error(ErrorCode::kResourceExhausted, "out of memory");
  (void)prepared.headers.release();
  prepared.headers.reset(longer);
}

Prepared prepare(const HttpCall& call, std::string* body) {
  Prepared prepared{std::unique_ptr<CURL, CurlDeleter>(curl_easy_init()), nullptr};
  CURL* handle = prepared.handle.get();
  if (handle == nullptr) throw Error(ErrorCode::kResourceExhausted, "libcurl can't be used");
  set(handle, CURLOPT_URL, call.url.c_str());
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_NOPROXY, "*");
  set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(call.timeout.count()));
  set(handle, CURLOPT_WRITEFUNCTION, &append);
  set(handle, CURLOPT_WRITEDATA, static_cast<void*>(body));
  for (const std::string& header : call.headers) add_header(prepared, header);
  if (call.post) {
    set(handle, CURLOPT_POST, 1L);
    set(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
    set(handle, CURLOPT_POSTFIELDS, call.body.c_str());
    // The answer to it would cost a round trip; but libcurl would sign a header that is not sent.
    if (call.key_id.empty()) add_header(prepared, "Expect:");
  }
  if (!call.key_id.empty()) {
    set(handle, CURLOPT_AWS_SIGV4, fmt::format("aws:amz:{}:{}", call.region, call.service).c_str());
    set(handle, CURLOPT_USERNAME, call.key_id.c_str());
    set(handle, CURLOPT_PASSWORD, call.secret.c_str());
  }
  if (prepared.headers) set(handle, CURLOPT_HTTPHEADER, prepared.headers.get());
  return prepared;
}

}  // namespace

HttpReply http_call(const HttpCall& call) {
  HttpReply reply;
  const Prepared prepared = prepare(call, &reply.body);
  CURL* handle = prepared.handle.get();
  const CURLcode code = curl_easy_perform(handle);
  if (code != CURLE_OK) {
    throw Error(
        code == CURLE_OPERATION_TIMEDOUT ? ErrorCode::kDeadlineExceeded : ErrorCode::kUnavailable,
        fmt::format("{}: {}", call.url, curl_easy_strerror(code)));
  }
  long status = 0;
  const char* type = nullptr;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(handle, CURLINFO_CONTENT_TYPE, &type);
  reply.status = static_cast<int>(status);
  if (type != nullptr) reply.content_type = type;
  return reply;
}

}  // namespace musher

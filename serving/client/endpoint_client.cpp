#include "serving/client/endpoint_client.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <curl/curl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/loopback.h"

namespace musher {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;
using CurlHandle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using CurlUrl = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;
using CurlList = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

constexpr std::chrono::milliseconds kFirstBackoff{100};

std::optional<std::string> part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return std::nullopt;
  const std::unique_ptr<char, decltype(&curl_free)> owner(text, &curl_free);
  return text;
}

struct Authority {
  std::string text;  ///< HOST[:PORT], as the Host header has it
  bool this_machine = false;
};

Authority authority_of(const std::string& url) {
  const CurlUrl parsed(curl_url(), &curl_url_cleanup);
  const auto refuse = [&](const char* why) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("\"{}\" {}: write https://HOST:PORT, or http://127.0.0.1:PORT for one "
                            "on this machine",
                            url, why));
  };
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK)
    refuse("is no URL");
  const std::string scheme = part_of(parsed.get(), CURLUPART_SCHEME).value_or("");
  const std::string host = part_of(parsed.get(), CURLUPART_HOST).value_or("");
  if (scheme != "https" && scheme != "http") refuse("is not HTTP");
  if (scheme == "http" && !is_loopback(host)) refuse("would be reached without TLS");
  if (part_of(parsed.get(), CURLUPART_USER) || part_of(parsed.get(), CURLUPART_QUERY) ||
      part_of(parsed.get(), CURLUPART_PATH).value_or("/") != "/") {
    refuse("has more than a host and a port");
  }
  const auto port = part_of(parsed.get(), CURLUPART_PORT);
  return {port ? fmt::format("{}:{}", host, *port) : host, is_loopback(host)};
}

struct Received {
  std::string body;
  std::string error_type;
  std::uint64_t limit = 0;
  bool too_large = false;
};

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* to) {
  auto& received = *static_cast<Received*>(to);
  received.too_large = received.body.size() + size * count > received.limit;
  if (received.too_large) return 0;
  received.body.append(data, size * count);
  return size * count;
}

std::size_t take_header(char* data, std::size_t size, std::size_t count, void* to) {
  std::string_view line(data, size * count);
  constexpr std::string_view kName = "x-amzn-errortype:";
  if (line.size() > kName.size() && lower_case(line.substr(0, kName.size())) == kName) {
    line.remove_prefix(kName.size());
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    static_cast<Received*>(to)->error_type = line.substr(0, line.find_first_of(":\r\n"));
  }
  return size * count;
}

/// Of `{"message": …}` or `{"Message": …}`, else the body itself.
std::string message_of(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  for (const char* name : {"message", "Message"}) {
    if (!json.is_object()) break;
    const auto found = json.find(name);
    if (found != json.end() && found->is_string()) return found->get<std::string>();
  }
  return body.substr(0, 512);
}

bool a_retry_may_help(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

}  // namespace

class EndpointClient::Impl {
 public:
  explicit Impl(EndpointClientOptions options)
      : options_(std::move(options)), authority_(authority_of(options_.url)) {
    while (options_.url.ends_with('/')) options_.url.pop_back();
  }

  EndpointAnswer invoke(const EndpointCall& call, Deadline deadline) {
    for (int attempt = 1;; ++attempt) {
      const bool last = attempt >= options_.attempts;
      try {
        EndpointAnswer answer = attempt_once(call, deadline);
        if (last || !a_retry_may_help(answer.status)) return answer;
      } catch (const Error& error) {
        if (last || error.code() != ErrorCode::kUnavailable) throw;
      }
      const auto pause = std::chrono::milliseconds(kFirstBackoff * (1 << (attempt - 1)));
      std::this_thread::sleep_for(std::min(pause, deadline.remaining()));
    }
  }

 private:
  EndpointAnswer attempt_once(const EndpointCall& call, Deadline deadline) {
    if (deadline.expired()) throw_too_late(call);
    CurlHandle handle = take_handle();
    const std::string target = target_of(call);
    const CurlList headers = headers_of(call, target);
    Received received{.body = {}, .error_type = {}, .limit = options_.response_limit};
    set_options(handle.get(), call, options_.url + target, headers.get(), received, deadline);
    const CURLcode code = curl_easy_perform(handle.get());
    if (received.too_large) {
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("endpoint {} answers more than {} bytes", call.endpoint,
                              options_.response_limit));
    }
    if (code == CURLE_OPERATION_TIMEDOUT) throw_too_late(call);
    if (code != CURLE_OK) {
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("{}{}: {}", options_.url, target, curl_easy_strerror(code)));
    }
    EndpointAnswer answer;
    long status = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
    answer.status = static_cast<int>(status);
    char* type = nullptr;
    curl_easy_getinfo(handle.get(), CURLINFO_CONTENT_TYPE, &type);
    if (type != nullptr) answer.content_type = type;
    answer.body = std::move(received.body);
    if (answer.status != 200) {
      answer.error_code =
          received.error_type.empty() ? std::to_string(answer.status) : received.error_type;
      answer.error_message = message_of(answer.body);
    }
    give_back(std::move(handle));
    return answer;
  }

  [[noreturn]] void throw_too_late(const EndpointCall& call) const {
    throw Error(
        ErrorCode::kDeadlineExceeded,
        fmt::format("endpoint {} at {} has not answered in time", call.endpoint, options_.url));
  }

  bool is_signed() const { return !options_.key.access_key_id.empty(); }

  std::string target_of(const EndpointCall& call) const {
    if (!is_signed()) return "/invocations";
    return fmt::format("/endpoints/{}/invocations",
                       uri_encode(call.endpoint, /*keep_slash=*/false));
  }

  CurlList headers_of(const EndpointCall& call, const std::string& target) const {
    Headers headers = {{"Host", authority_.text}, {"Content-Type", call.content_type}};
    if (is_signed()) {
      const SignedRequest request = {"POST", target, {headers.begin(), headers.end()}, call.body};
      const auto signature = sign(request, options_.key, {options_.region, "sagemaker"},
                                  std::chrono::system_clock::now());
      headers.insert(headers.end(), signature.begin(), signature.end());
    }
    headers.emplace_back("Accept", call.accept);
    if (!call.request_id.empty()) headers.emplace_back("X-Amzn-RequestId", call.request_id);
    CurlList list(curl_slist_append(nullptr, "Expect:"), &curl_slist_free_all);
    for (const auto& [name, value] : headers) {
      if (curl_slist_append(list.get(), fmt::format("{}: {}", name, value).c_str()) == nullptr)
        throw Error(ErrorCode::kResourceExhausted, "libcurl has no memory");
    }
    return list;
  }

  void set_options(CURL* handle, const EndpointCall& call, const std::string& url,
                   curl_slist* headers, Received& received, Deadline deadline) const {
    const long left = std::max<long>(1, static_cast<long>(deadline.remaining().count()));
    curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_POST, 1L);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, call.body.data());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(call.body.size()));
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, left);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, left);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &take_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &received);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &take_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, &received);
    if (authority_.this_machine) curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
    if (!options_.ca_bundle.empty())
      curl_easy_setopt(handle, CURLOPT_CAINFO, options_.ca_bundle.c_str());
  }

  /// One that was used before keeps its connection.
  CurlHandle take_handle() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        CurlHandle handle = std::move(idle_.back());
        idle_.pop_back();
        return handle;
      }
    }
    CurlHandle handle(curl_easy_init(), &curl_easy_cleanup);
    if (!handle) throw Error(ErrorCode::kResourceExhausted, "libcurl has no memory");
    return handle;
  }

  void give_back(CurlHandle handle) {
    curl_easy_reset(handle.get());
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(handle));
  }

  EndpointClientOptions options_;
  const Authority authority_;
  std::mutex mutex_;
  std::vector<CurlHandle> idle_;
};

EndpointClient::EndpointClient(EndpointClientOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
EndpointClient::~EndpointClient() = default;

EndpointAnswer EndpointClient::invoke(const EndpointCall& call, Deadline deadline) {
  return impl_->invoke(call, deadline);
}

}  // namespace musher

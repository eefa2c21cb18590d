#include "trainer/metadata.h"

#include <cstdlib>
#include <memory>
#include <utility>

#include <curl/curl.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr long kConnectMilliseconds = 1'000;
constexpr long kCallMilliseconds = 2'000;
constexpr std::size_t kMostBytes = 64 << 10;

std::size_t take(char* data, std::size_t size, std::size_t count, void* text) {
  auto& body = *static_cast<std::string*>(text);
  if (body.size() + size * count > kMostBytes) return 0;  // that is not the metadata service
  body.append(data, size * count);
  return size * count;
}

int give_up(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return (*static_cast<const std::function<bool()>*>(stop))() ? 1 : 0;
}

}  // namespace

MetadataConfig MetadataConfig::from_environment() {
  MetadataConfig config;
  const char* endpoint = std::getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (endpoint != nullptr && *endpoint != '\0') config.endpoint = endpoint;
  while (config.endpoint.ends_with('/')) config.endpoint.pop_back();
  const char* disabled = std::getenv("AWS_EC2_METADATA_DISABLED");
  config.disabled = disabled != nullptr && curl_strequal(disabled, "true") != 0;
  return config;
}

MetadataService::MetadataService(MetadataConfig config, std::function<bool()> stop)
    : config_(std::move(config)), stop_(std::move(stop)) {}

std::optional<std::string> MetadataService::get(const std::string& path) {
  Answer answer = ask_with_token("/latest/meta-data/" + path);
  if (answer.status == 404) return std::nullopt;
  if (answer.status == 200) return std::move(answer.body);
  throw Error(ErrorCode::kUnavailable, fmt::format("{}/latest/meta-data/{} answers {}",
                                                   config_.endpoint, path, answer.status));
}

MetadataService::Answer MetadataService::ask_with_token(const std::string& path) {
  for (int attempt = 0;; ++attempt) {
    if (token_.empty()) {
      Answer answer = ask("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600", true);
      if (answer.status != 200 || answer.body.empty()) {
        throw Error(ErrorCode::kUnavailable,
                    fmt::format("{}/latest/api/token answers {}", config_.endpoint, answer.status));
      }
      token_ = std::move(answer.body);
    }
    Answer answer = ask(path, "X-aws-ec2-metadata-token: " + token_, false);
    if (answer.status != 401 || attempt > 0) return answer;
    token_.clear();
  }
}

MetadataService::Answer MetadataService::ask(const std::string& path, const std::string& header,
                                             bool put) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> call(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
      curl_slist_append(nullptr, header.c_str()), &curl_slist_free_all);
  if (!call || !headers) throw Error(ErrorCode::kResourceExhausted, "libcurl has no memory");
  Answer answer;
  const std::string url = config_.endpoint + path;
  curl_easy_setopt(call.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(call.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(call.get(), CURLOPT_HTTPHEADER, headers.get());
  if (put) curl_easy_setopt(call.get(), CURLOPT_CUSTOMREQUEST, "PUT");
  curl_easy_setopt(call.get(), CURLOPT_NOPROXY, "*");  // it is this host that is asked
  curl_easy_setopt(call.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(call.get(), CURLOPT_CONNECTTIMEOUT_MS, kConnectMilliseconds);
  curl_easy_setopt(call.get(), CURLOPT_TIMEOUT_MS, kCallMilliseconds);
  curl_easy_setopt(call.get(), CURLOPT_WRITEFUNCTION, &take);
  curl_easy_setopt(call.get(), CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(call.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(call.get(), CURLOPT_XFERINFOFUNCTION, &give_up);
  curl_easy_setopt(call.get(), CURLOPT_XFERINFODATA, &stop_);
  const CURLcode code = curl_easy_perform(call.get());
  if (code != CURLE_OK) {
    throw Error(ErrorCode::kUnavailable, url + ": " + curl_easy_strerror(code));
  }
  curl_easy_getinfo(call.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

}  // namespace musher

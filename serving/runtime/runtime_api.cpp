#include "serving/runtime/runtime_api.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "serving/access/signed_request.h"

namespace musher {
namespace {

constexpr std::string_view kPrefix = "/endpoints/";
constexpr std::string_view kSuffix = "/invocations";
constexpr std::size_t kMaxMessage = 2048;  // of SageMaker's shapes

SignedRequest signed_view(const HttpRequest& request) {
  return {request.method,
          request.target,
          {request.headers.begin(), request.headers.end()},
          request.body};
}

/// NAME of /endpoints/NAME/invocations; empty for another path. No escapes: no name needs them.
std::string_view endpoint_of(std::string_view path) {
  if (!path.starts_with(kPrefix) || !path.ends_with(kSuffix)) return {};
  if (path.size() < kPrefix.size() + kSuffix.size()) return {};
  path = path.substr(kPrefix.size(), path.size() - kPrefix.size() - kSuffix.size());
  return path.find_first_of("/%") == path.npos ? path : std::string_view();
}

bool is_name(std::string_view name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !name.empty() && name.size() <= 63 && name.front() != '-' && name.back() != '-' &&
         std::ranges::all_of(name, good);
}

HttpResponse refused(const AccessError& error) {
  return http_error(error.status, error.code, error.message);
}

}  // namespace

std::string EndpointName::arn() const {
  return fmt::format("arn:aws:sagemaker:{}:{}:endpoint/{}", region, account, lower_case(name));
}

void check(const EndpointName& endpoint) {
  if (!is_name(endpoint.name)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("an endpoint's name must be 1 to 63 letters, digits and hyphens between, "
                    "not \"{}\"",
                    endpoint.name));
  }
}

HttpResponse invoke_endpoint_answer(HttpResponse container) {
  container.headers.emplace_back("x-Amzn-Invoked-Production-Variant", "AllTraffic");
  if (container.status == 200 || container.status == 503) return container;
  const std::string original = container.body.substr(0, kMaxMessage);
  const nlohmann::json body = {
      {"Message", fmt::format("Received client error ({}) from primary with message \"{}\".",
                              container.status, original)
                      .substr(0, kMaxMessage)},
      {"OriginalStatusCode", container.status},
      {"OriginalMessage", original},
      {"LogStreamArn", ""}};
  container.headers = {{"x-amzn-ErrorType", "ModelError"},
                       {"x-Amzn-Invoked-Production-Variant", "AllTraffic"}};
  container.content_type = "application/json";
  container.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  container.status = 424;
  return container;
}

void RuntimeApi::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  if (request.path() == "/ping") return container_(std::move(request), std::move(exchange));
  const std::string_view name = endpoint_of(request.path());
  // Another path is a request that nothing allows, signed or not.
  const std::string action =
      !name.empty() && request.method == "POST" ? "sagemaker:InvokeEndpoint" : "sagemaker:Unknown";
  EndpointName called = endpoint_;
  called.name = name;
  const auto answer =
      gate_.admit(signed_view(request), action, called.arn(), std::chrono::system_clock::now());
  if (const auto* error = std::get_if<AccessError>(&answer))
    return exchange->answer(refused(*error));
  // Exact at invocation, as SageMaker's. What may not be invoked is not told whether it exists.
  if (action != "sagemaker:InvokeEndpoint" || name != endpoint_.name) {
    return exchange->answer(
        http_error(400, "ValidationError",
                   fmt::format("Endpoint {} of account {} not found.", name, endpoint_.account)));
  }
  invoke(std::move(request), exchange);
}

void RuntimeApi::invoke(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  request.target = kSuffix;
  container_(std::move(request), forward(exchange, invoke_endpoint_answer));
}

}  // namespace musher

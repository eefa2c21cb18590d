#include "serving/function/function_api.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "serving/access/cryptography.h"
#include "serving/access/signed_request.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPrefix = "/2015-03-31/functions/";
constexpr std::string_view kSuffix = "/invocations";
constexpr std::size_t kMostClientContext = 3583;  // bytes of base64
constexpr std::array<std::string_view, 3> kInvocationTypes = {"RequestResponse", "Event", "DryRun"};
constexpr std::array<std::string_view, 2> kLogTypes = {"None", "Tail"};

/// As Lambda answers: `{"Type": …, "message": …}`.
HttpResponse lambda_error(int status, const char* code, const std::string& message,
                          const char* reason = nullptr) {
  HttpResponse response = http_error(status, code, message);
  Json body = {{"Type", status < 500 ? "User" : "Service"}, {"message", message}};
  if (reason != nullptr) body["Reason"] = reason;
  response.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

HttpResponse throttled(const char* reason) {
  return lambda_error(429, "TooManyRequestsException", "Rate Exceeded.", reason);
}

/// The value of Qualifier in `/path?Qualifier=…`; empty where there is none.
std::string qualifier_of(std::string_view target) {
  constexpr std::string_view kName = "Qualifier=";
  const std::size_t question = target.find('?');
  if (question == target.npos) return "";
  std::string_view query = target.substr(question + 1);
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    if (pair.starts_with(kName)) return uri_decode(pair.substr(kName.size()));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
  }
  return "";
}

/// The function of /2015-03-31/functions/NAME/invocations; empty for another path.
std::string function_of(std::string_view path) {
  if (!path.starts_with(kPrefix) || !path.ends_with(kSuffix)) return "";
  if (path.size() < kPrefix.size() + kSuffix.size()) return "";
  path = path.substr(kPrefix.size(), path.size() - kPrefix.size() - kSuffix.size());
  return path.find('/') == path.npos ? uri_decode(path) : "";
}

/// One of `values`, the first where the header is missing. Empty for another.
template <std::size_t N>
std::optional<std::string_view> header_of(const HttpRequest& request, std::string_view name,
                                          const std::array<std::string_view, N>& values) {
  const std::string_view given = request.header(name);
  if (given.empty()) return values[0];
  for (const std::string_view value : values) {
    if (value == given) return value;
  }
  return std::nullopt;
}

template <std::size_t N>
HttpResponse no_such_value(const HttpRequest& request, std::string_view header, const char* field,
                           const std::array<std::string_view, N>& values) {
  return lambda_error(
      400, "ValidationException",
      fmt::format("1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: "
                  "Member must satisfy enum value set: [{}]",
                  request.header(header), field, fmt::join(values, ", ")));
}

/// What is wrong with an invocation that its caller may make; empty: nothing.
std::optional<HttpResponse> problem_of(const HttpRequest& request, bool event) {
  const std::uint64_t limit = event ? FunctionApi::kEventLimit : FunctionApi::kCallLimit;
  if (request.body.size() > limit) {
    return lambda_error(
        413, "RequestTooLargeException",
        fmt::format("Request must be smaller than {} bytes for the InvokeFunction operation",
                    limit));
  }
  if (!request.body.empty() && !Json::accept(request.body)) {
    return lambda_error(400, "InvalidRequestContentException",
                        "Could not parse request body into json: the payload must be JSON");
  }
  if (request.header("x-amz-client-context").size() > kMostClientContext) {
    return lambda_error(
        400, "InvalidRequestContentException",
        fmt::format("Client context must be smaller than {} bytes", kMostClientContext + 1));
  }
  return std::nullopt;
}

HttpResponse answer_of(const Execution& execution, bool with_log) {
  HttpResponse response = {200, "application/json", execution.payload, {}};
  response.headers.emplace_back("X-Amz-Executed-Version", "$LATEST");
  if (execution.failed) response.headers.emplace_back("X-Amz-Function-Error", "Unhandled");
  if (with_log) {
    const std::string& log = execution.log_tail;
    response.headers.emplace_back(
        "X-Amz-Log-Result",
        base64({reinterpret_cast<const unsigned char*>(log.data()), log.size()}));
  }
  return response;
}

SignedRequest signed_view(const HttpRequest& request) {
  return {request.method,
          request.target,
          {request.headers.begin(), request.headers.end()},
          request.body};
}

}  // namespace

void FunctionApi::handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  if (request.path() == "/ping" && request.method == "GET") return exchange->answer({});
  const std::string name = function_of(request.path());
  const bool known = !name.empty() && request.method == "POST";
  // Another path is a request that nothing allows, signed or not.
  const char* action = known ? "lambda:InvokeFunction" : "lambda:Unknown";
  const CalledFunction called = called_function(name, qualifier_of(request.target), function_);
  const auto admitted =
      gate_.admit(signed_view(request), action, called.arn(), std::chrono::system_clock::now());
  if (const auto* error = std::get_if<AccessError>(&admitted))
    return exchange->answer(lambda_error(error->status, error->code.c_str(), error->message));
  // What may not be invoked is not told whether it exists.
  const bool latest = called.qualifier.empty() || called.qualifier == "$LATEST";
  if (!known || called.function != function_ || !latest) {
    return exchange->answer(
        lambda_error(404, "ResourceNotFoundException", "Function not found: " + called.arn()));
  }
  invoke(std::move(request), called, exchange);
}

void FunctionApi::invoke(HttpRequest request, const CalledFunction& called,
                         const std::shared_ptr<Exchange>& exchange) {
  const auto type = header_of(request, "x-amz-invocation-type", kInvocationTypes);
  if (!type) {
    return exchange->answer(
        no_such_value(request, "x-amz-invocation-type", "invocationType", kInvocationTypes));
  }
  const auto log_type = header_of(request, "x-amz-log-type", kLogTypes);
  if (!log_type)
    return exchange->answer(no_such_value(request, "x-amz-log-type", "logType", kLogTypes));
  if (auto problem = problem_of(request, *type == "Event"))
    return exchange->answer(*std::move(problem));
  if (*type == "DryRun") return exchange->answer({204, "", "", {}});

  // Lambda hands a function {} where nothing is given.
  FunctionService::Call call = {.request_id = request.id,
                                .function_arn = called.arn(),
                                .payload = request.body.empty() ? "{}" : std::move(request.body)};
  if (*type == "Event") {
    const bool taken = service_.try_queue(std::move(call), [exchange](bool accepted) {
      exchange->answer(accepted ? HttpResponse{202, "", "", {}}
                                : lambda_error(500, "ServiceException",
                                               "The event could not be stored; the function's log "
                                               "says why."));
    });
    if (!taken) exchange->answer(throttled("ReservedFunctionInvocationRateLimitExceeded"));
    return;
  }
  const bool with_log = *log_type == "Tail";
  const bool taken =
      service_.try_invoke(std::move(call), [exchange, with_log](const Execution& execution) {
        exchange->answer(answer_of(execution, with_log));
      });
  if (!taken) exchange->answer(throttled("ReservedFunctionConcurrentInvocationLimitExceeded"));
}

}  // namespace musher

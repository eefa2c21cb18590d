#include "serving/function/execution.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string timed_out(const FunctionContext& context, std::chrono::milliseconds timeout) {
  return dump({{"errorType", "Sandbox.Timedout"},
               {"errorMessage",
                fmt::format("RequestId: {} Error: Task timed out after {:.2f} seconds",
                            context.request_id, static_cast<double>(timeout.count()) / 1000)}});
}

std::string failure(const FunctionContext& context, const std::string& type,
                    const std::string& message) {
  return dump({{"errorMessage", message},
               {"errorType", type},
               {"requestId", context.request_id},
               {"stackTrace", nlohmann::json::array()}});
}

}  // namespace

std::string to_string(const FunctionContext& context) {
  return fmt::format(
      "LambdaContext([aws_request_id={},function_name={},function_version=$LATEST,"
      "invoked_function_arn={},client_context=None,identity=CognitoIdentity(["
      "cognito_identity_id=None,cognito_identity_pool_id=None])])",
      context.request_id, context.function_name, context.function_arn);
}

void FunctionLog::line(std::string_view given) {
  std::string text(given);  // one line, whatever a caller or an endpoint put in
  std::ranges::replace_if(
      text, [](char c) { return c >= 0 && c < 0x20 && c != '\t'; }, ' ');
  logger_->info("{}", text);
  tail_ += text;
  tail_ += '\n';
  if (tail_.size() > kTail) tail_.erase(0, tail_.size() - kTail);
}

Execution execute(const Function& function, const std::string& event,
                  const FunctionContext& context, std::chrono::milliseconds timeout,
                  const Logger& logger) {
  const auto began = Clock::now();
  FunctionLog log(logger);
  log.line(fmt::format("START RequestId: {} Version: $LATEST", context.request_id));
  Execution execution;
  std::string type = "RuntimeError";
  std::string message;
  try {
    execution.payload = function(event, context, log);
  } catch (const FunctionError& error) {
    execution.failed = true;
    type = error.type();
    message = error.what();
  } catch (const std::exception& error) {
    execution.failed = true;
    message = error.what();
  }
  const bool late = context.deadline.expired();
  if (late) {
    execution.failed = true;
    execution.payload = timed_out(context, timeout);
    log.line(fmt::format("{} Task timed out after {:.2f} seconds", context.request_id,
                         static_cast<double>(timeout.count()) / 1000));
  } else if (execution.failed) {
    execution.payload = failure(context, type, message);
    log.line(fmt::format("[ERROR] {}: {}", type, message));
  }
  execution.duration = Clock::now() - began;
  const double duration = std::chrono::duration<double, std::milli>(execution.duration).count();
  log.line(fmt::format("END RequestId: {}", context.request_id));
  log.line(fmt::format("REPORT RequestId: {}\tDuration: {:.2f} ms\tBilled Duration: {:.0f} ms\t",
                       context.request_id, duration, std::ceil(duration)));
  execution.log_tail = log.tail();
  return execution;
}

}  // namespace musher

#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "common/deadline.h"
#include "common/log.h"

namespace musher {

/// What a function is told of its execution.
struct FunctionContext {
  std::string request_id;
  std::string function_name;
  std::string function_arn;  ///< as it was called, with a qualifier where there was one
  Deadline deadline;
};

/// `str(context)` of Lambda's Python runtime, as far as it exists here.
std::string to_string(const FunctionContext& context);

/// What one execution writes: each line to the server's log, and the last 4 KB are kept for the
/// caller. One thread at a time.
class FunctionLog {
 public:
  static constexpr std::size_t kTail = 4096;  ///< bytes

  explicit FunctionLog(Logger logger) : logger_(std::move(logger)) {}
  void line(std::string_view given);
  const std::string& tail() const { return tail_; }

 private:
  const Logger logger_;
  std::string tail_;
};

/// Thrown by a function for what goes wrong in it: what Lambda calls a function error.
class FunctionError : public std::runtime_error {
 public:
  FunctionError(std::string type, const std::string& message)
      : std::runtime_error(message), type_(std::move(type)) {}
  const std::string& type() const { return type_; }

 private:
  std::string type_;
};

/// The event and the answer are JSON. Called by several threads at once.
using Function = std::function<std::string(const std::string& event, const FunctionContext& context,
                                           FunctionLog& log)>;

/// How one execution ended.
struct Execution {
  std::string payload;  ///< the answer, or `{"errorMessage", "errorType", "requestId",
                        ///< "stackTrace"}`
  bool failed = false;
  std::string log_tail;
  std::chrono::steady_clock::duration duration{};  ///< of the function alone
};

/// Runs it once, with Lambda's lines START, END and REPORT around what it writes. Whatever it
/// throws is a function error; one that ends after its deadline, Sandbox.Timedout. Throws nothing.
Execution execute(const Function& function, const std::string& event,
                  const FunctionContext& context, std::chrono::milliseconds timeout,
                  const Logger& logger);

}  // namespace musher

#pragma once

#include <cstdint>
#include <memory>

#include "serving/access/gate.h"
#include "serving/function/function_name.h"
#include "serving/function/function_service.h"
#include "serving/http/exchange.h"

namespace musher {

/// Lambda's Invoke, `POST /2015-03-31/functions/NAME/invocations`, so that boto3's `lambda` works
/// with an `endpoint_url`. Requests must be signed by a key whose policy allows
/// lambda:InvokeFunction on the function; they then run by X-Amz-Invocation-Type: RequestResponse
/// (200, also for an error of the function's, which X-Amz-Function-Error tells), Event (202),
/// DryRun (204). X-Amz-Log-Type Tail brings the log's end. Above the reserved concurrency the
/// answer is 429. `GET /ping` needs no signature; everything else is refused. The only version is
/// $LATEST. https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
class FunctionApi {
 public:
  static constexpr std::uint64_t kCallLimit = 6 << 20;   ///< bytes of a payload
  static constexpr std::uint64_t kEventLimit = 1 << 20;  ///< likewise, of the type Event

  /// `gate` and `service` must outlive it.
  FunctionApi(AccessGate& gate, FunctionName function, FunctionService& service)
      : gate_(gate), function_(std::move(function)), service_(service) {}

  /// A handler of HttpServer, whose body limit must be above kCallLimit.
  void handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange);

 private:
  void invoke(HttpRequest request, const CalledFunction& called,
              const std::shared_ptr<Exchange>& exchange);

  AccessGate& gate_;
  const FunctionName function_;
  FunctionService& service_;
};

}  // namespace musher

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/deadline.h"
#include "serving/access/signer.h"

namespace musher {

struct EndpointClientOptions {
  std::string url;  ///< `https://host[:port]`, or `http://` on this machine
  std::string region = "us-east-1";
  SigningKey key;  ///< without an id: an endpoint that takes unsigned requests, at /invocations
  std::string ca_bundle;  ///< PEM of the authorities for https; empty: the system's
  std::uint64_t response_limit = 6 << 20;  ///< bytes
  int attempts = 3;  ///< where it can't be reached, or answers 429, 502, 503 or 504
};

struct EndpointCall {
  std::string endpoint;
  std::string content_type;
  std::string accept = "application/json";
  std::string body;
  std::string request_id;  ///< goes with it as X-Amzn-RequestId; may be empty
};

/// What came back. An answer that is no 200 is a value too.
struct EndpointAnswer {
  int status = 0;
  std::string content_type;
  std::string body;
  std::string error_code;     ///< where status is not 200: `x-amzn-ErrorType`, e.g. "ModelError"
  std::string error_message;  ///< likewise
};

/// SageMaker Runtime's InvokeEndpoint, signed by AWS Signature V4, each attempt anew; or without a
/// key the container contract's POST /invocations. Connections are kept and used again.
/// Thread-safe.
/// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
class EndpointClient {
 public:
  /// kInvalidArgument for a URL that is none, or is plain http:// to another machine.
  explicit EndpointClient(EndpointClientOptions options);
  ~EndpointClient();
  EndpointClient(const EndpointClient&) = delete;
  EndpointClient& operator=(const EndpointClient&) = delete;

  /// kUnavailable where the endpoint can't be reached, kDeadlineExceeded, kResourceExhausted for an
  /// answer above the limit. A call may be run more than once on the other side.
  EndpointAnswer invoke(const EndpointCall& call, Deadline deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

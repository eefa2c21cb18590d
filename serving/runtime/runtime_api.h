#pragma once

#include <functional>
#include <memory>
#include <string>

#include "serving/access/gate.h"
#include "serving/http/exchange.h"

namespace musher {

/// What an endpoint is called and where it is, as its ARN says.
struct EndpointName {
  std::string name;
  std::string region = "us-east-1";
  std::string account = "000000000000";

  /// arn:aws:sagemaker:REGION:ACCOUNT:endpoint/NAME, the name in lower case as SageMaker has it.
  std::string arn() const;
};

/// kInvalidArgument for a name that SageMaker does not take.
void check(const EndpointName& endpoint);

/// SageMaker Runtime's `POST /endpoints/NAME/invocations`, so that boto3's `sagemaker-runtime`
/// works with an `endpoint_url`. Requests must be signed by a key whose policy allows
/// sagemaker:InvokeEndpoint on the endpoint; they then go to `container` as /invocations, and what
/// it answers comes back in InvokeEndpoint's form: an error of the container's is a ModelError,
/// 424. `GET /ping` needs no signature; everything else is refused.
/// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
class RuntimeApi {
 public:
  /// `gate` must outlive it.
  RuntimeApi(AccessGate& gate, EndpointName endpoint, HttpHandler container)
      : gate_(gate), endpoint_(std::move(endpoint)), container_(std::move(container)) {}

  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange);

 private:
  void invoke(HttpRequest request, const std::shared_ptr<Exchange>& exchange);

  AccessGate& gate_;
  const EndpointName endpoint_;
  const HttpHandler container_;
};

/// An answer of the container as InvokeEndpoint gives it.
HttpResponse invoke_endpoint_answer(HttpResponse container);

}  // namespace musher

#pragma once

#include <cstddef>
#include <memory>

#include "monitoring/page.h"
#include "serving/endpoint/inference_service.h"
#include "serving/http/server.h"

namespace musher {

/// What a model server counts from its start on, for `GET /metrics`: SageMaker's invocation metrics
/// in Prometheus' units, and what SageMaker does not show, batches and the queue. The help texts
/// name the metric of CloudWatch that each is. Thread-safe.
/// https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
class EndpointMetrics {
 public:
  EndpointMetrics();
  ~EndpointMetrics();
  EndpointMetrics(const EndpointMetrics&) = delete;
  EndpointMetrics& operator=(const EndpointMetrics&) = delete;

  /// Every answer of the HTTP server. Those that something behind it answered, by
  /// HttpResponse::upstream_status, are invocations.
  void add(const AccessRecord& record);
  void add(const BatchRecord& record);
  /// The model was read, at the start or anew; or it could not be, and the one before goes on.
  void add_load(bool succeeded);

  /// With all of it, what the service is at now, and the process's own.
  MetricsPage page(const InferenceService& service, std::size_t connections) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

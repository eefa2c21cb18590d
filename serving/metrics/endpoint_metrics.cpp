#include "serving/metrics/endpoint_metrics.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include "monitoring/instruments.h"
#include "monitoring/process_usage.h"

namespace musher {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::Registry;
using Buckets = Histogram::BucketBoundaries;

/// Seconds: from what a model that does nothing takes to what is given up.
const Buckets& latency_buckets() {
  static const Buckets buckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                  0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
  return buckets;
}

Histogram& histogram(Registry& registry, const std::string& name, const std::string& help,
                     const Buckets& buckets = latency_buckets()) {
  return make_histogram(registry, name, help, buckets);
}

}  // namespace

struct EndpointMetrics::Impl {
  Registry registry;
  Counter& invocations =
      make_counter(registry, "musher_endpoint_invocations_total",
                   "SageMaker's Invocations: requests that the model server was asked to answer");
  Counter& errors_4xx = make_counter(
      registry, "musher_endpoint_invocation_4xx_errors_total",
      "SageMaker's Invocation4XXErrors: invocations that the model server answered with 4xx");
  Counter& errors_5xx = make_counter(
      registry, "musher_endpoint_invocation_5xx_errors_total",
      "SageMaker's Invocation5XXErrors: invocations that the model server answered with 5xx");
  Counter& model_errors =
      make_counter(registry, "musher_endpoint_invocation_model_errors_total",
                   "SageMaker's InvocationModelErrors: invocations that had no 2xx");
  Histogram& model_latency = histogram(
      registry, "musher_endpoint_model_latency_seconds",
      "SageMaker's ModelLatency (there in microseconds): from the whole request to its answer, "
      "decoding and the queue included");
  Histogram& overhead_latency = histogram(
      registry, "musher_endpoint_overhead_latency_seconds",
      "SageMaker's OverheadLatency (there in microseconds): what else there is between the first "
      "byte read and the last written, such as the network and the check of the signature");
  Histogram& wait =
      histogram(registry, "musher_endpoint_wait_seconds",
                "Of an invocation's ModelLatency: until its batch began, decoding and the queue");
  Histogram& batch_seconds = histogram(registry, "musher_endpoint_batch_seconds",
                                       "One run of the model, with the answering");
  Histogram& batch_size =
      histogram(registry, "musher_endpoint_batch_size", "Requests that ran together",
                {1, 2, 4, 8, 16, 32, 64, 128, 256});
  Family<Counter>& responses =
      prometheus::BuildCounter()
          .Name("musher_endpoint_http_responses_total")
          .Help("All answers by HTTP status, those to requests that never reached the model too")
          .Register(registry);
  Family<Counter>& loads = prometheus::BuildCounter()
                               .Name("musher_endpoint_model_loads_total")
                               .Help("How often the model was read, and whether it could be")
                               .Register(registry);

  /// Answers of a status, found without the registry, whose look-up by label costs more than the
  /// rest of what is counted of a request.
  Counter& responses_of(int status) {
    std::atomic<Counter*>& known = by_status[static_cast<std::size_t>(std::clamp(status, 0, 599))];
    Counter* one = known.load(std::memory_order_acquire);
    if (one == nullptr) {
      one = &responses.Add({{"code", std::to_string(status)}});  // the same, whoever is first
      known.store(one, std::memory_order_release);
    }
    return *one;
  }
  std::array<std::atomic<Counter*>, 600> by_status{};
};

EndpointMetrics::EndpointMetrics() : impl_(std::make_unique<Impl>()) {
  for (const char* result : {"success", "failure"}) impl_->loads.Add({{"result", result}});
}
EndpointMetrics::~EndpointMetrics() = default;

void EndpointMetrics::add(const AccessRecord& record) {
  Impl& all = *impl_;
  all.responses_of(record.status).Increment();
  const int status = record.upstream_status;
  if (status == 0) return;
  all.invocations.Increment();
  if (status >= 400 && status < 500) all.errors_4xx.Increment();
  if (status >= 500) all.errors_5xx.Increment();
  if (status < 200 || status >= 300) all.model_errors.Increment();
  all.model_latency.Observe(in_seconds(record.upstream_time));
  all.overhead_latency.Observe(in_seconds(record.duration - record.upstream_time));
}

void EndpointMetrics::add(const BatchRecord& record) {
  impl_->batch_size.Observe(static_cast<double>(record.waits.size()));
  impl_->batch_seconds.Observe(in_seconds(record.duration));
  for (const auto wait : record.waits) impl_->wait.Observe(in_seconds(wait));
}

void EndpointMetrics::add_load(bool succeeded) {
  impl_->loads.Add({{"result", succeeded ? "success" : "failure"}}).Increment();
}

MetricsPage EndpointMetrics::page(const InferenceService& service, std::size_t connections) const {
  MetricsPage page;
  page.add(impl_->registry.Collect());
  page.gauge("musher_endpoint_model_ready", "1 once GET /ping says 200", service.ready() ? 1 : 0);
  page.gauge("musher_endpoint_concurrent_requests",
             "SageMaker's ConcurrentRequestsPerModel: invocations without an answer yet, those "
             "that wait included",
             static_cast<double>(service.under_way()));
  page.gauge("musher_endpoint_queued_requests", "Of those: decoded, and waiting for a batch",
             static_cast<double>(service.queued()));
  page.gauge("musher_endpoint_connections", "Open connections", static_cast<double>(connections));
  add_process_usage(page);
  return page;
}

}  // namespace musher

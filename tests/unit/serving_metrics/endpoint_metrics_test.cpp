#include "serving/metrics/endpoint_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

AccessRecord answered(int status, int upstream_status, milliseconds whole, milliseconds upstream) {
  AccessRecord record;
  record.status = status;
  record.duration = whole;
  record.upstream_status = upstream_status;
  record.upstream_time = upstream;
  return record;
}

class EndpointMetricsTest : public testing::Test {
 protected:
  void expect_lines(const std::vector<const char*>& lines) {
    const std::string page = metrics_.page(service_, 7).text();
    for (const char* line : lines) {
      EXPECT_THAT(page, HasSubstr(std::string("\n") + line + "\n"));
    }
  }

  InferenceService service_{InferenceOptions{}};
  EndpointMetrics metrics_;
};

TEST_F(EndpointMetricsTest, CountsAsSageMakerDoes) {
  metrics_.add(answered(200, 200, milliseconds(30), milliseconds(20)));
  metrics_.add(answered(424, 400, milliseconds(3), milliseconds(2)));  // InvokeEndpoint's form
  metrics_.add(answered(503, 503, milliseconds(3), milliseconds(2)));
  metrics_.add(answered(403, 0, milliseconds(1), milliseconds(0)));  // never reached the model
  metrics_.add(answered(200, 0, milliseconds(1), milliseconds(0)));  // /ping
  expect_lines({"musher_endpoint_invocations_total 3",
                "musher_endpoint_invocation_4xx_errors_total 1",
                "musher_endpoint_invocation_5xx_errors_total 1",
                "musher_endpoint_invocation_model_errors_total 2",
                "musher_endpoint_model_latency_seconds_count 3",
                "musher_endpoint_model_latency_seconds_sum 0.024",
                "musher_endpoint_model_latency_seconds_bucket{le=\"0.0025\"} 2",
                "musher_endpoint_overhead_latency_seconds_sum 0.012",
                "musher_endpoint_http_responses_total{code=\"403\"} 1",
                "musher_endpoint_http_responses_total{code=\"424\"} 1"});
}

TEST_F(EndpointMetricsTest, TellsOfBatchesModelsAndConnections) {
  metrics_.add({0, milliseconds(8), {milliseconds(1), milliseconds(2), milliseconds(3)}});
  metrics_.add_load(true);
  metrics_.add_load(false);
  expect_lines({"musher_endpoint_batch_size_sum 3", "musher_endpoint_batch_seconds_sum 0.008",
                "musher_endpoint_wait_seconds_count 3", "musher_endpoint_connections 7",
                "musher_endpoint_model_ready 0", "musher_endpoint_queued_requests 0",
                "musher_endpoint_concurrent_requests 0",
                "musher_endpoint_model_loads_total{result=\"failure\"} 1"});
}

}  // namespace
}  // namespace musher

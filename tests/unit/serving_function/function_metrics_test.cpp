#include "serving/function/function_metrics.h"

#include <future>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitoring/page.h"
#include "serving/function/function_service.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

void expect_lines(const std::string& page, const std::vector<const char*>& lines) {
  for (const char* line : lines) EXPECT_THAT(page, HasSubstr(std::string("\n") + line + "\n"));
}

std::string page_of(const FunctionService& service) {
  MetricsPage page;
  service.add_metrics(page, 5);
  return page.text();
}

TEST(FunctionMetrics, HasAllFromTheStart) {
  const FunctionMetrics metrics;
  MetricsPage page;
  metrics.add_to(page, {.executions = 3, .reserved_concurrency = 10, .connections = 7});
  expect_lines(
      page.text(),
      {"musher_function_invocations_total 0", "musher_function_errors_total 0",
       "musher_function_throttles_total 0", "musher_function_duration_seconds_count 0",
       "musher_function_async_events_received_total 0",
       "musher_function_async_event_age_seconds_count 0",
       "musher_function_async_events_dropped_total{reason=\"age\"} 0",
       "musher_function_async_events_dropped_total{reason=\"retries\"} 0",
       "musher_function_concurrent_executions 3", "musher_function_reserved_concurrency 10",
       "musher_function_waiting_events 0", "musher_function_connections 7"});
}

TEST(FunctionMetrics, NamesLambdasMetrics) {
  const FunctionMetrics metrics;
  MetricsPage page;
  metrics.add_to(page, {});
  for (const char* name : {"Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions",
                           "AsyncEventsReceived", "AsyncEventAge", "AsyncEventsDropped"}) {
    EXPECT_THAT(page.text(), HasSubstr(std::string(" Lambda's ") + name));
  }
}

TEST(FunctionMetrics, CountsAsLambdaDoes) {
  FunctionMetrics metrics;
  Execution execution;
  execution.duration = 20ms;
  metrics.add_execution(execution);
  execution.failed = true;
  execution.duration = 4ms;
  metrics.add_execution(execution);
  metrics.add_throttle();
  metrics.add_event();
  metrics.add_event_age(2s);
  metrics.add_event_drop(EventDrop::kTooOld);
  AccessRecord record;
  record.status = 429;
  metrics.add(record);
  MetricsPage page;
  metrics.add_to(page, {});
  expect_lines(page.text(),
               {"musher_function_invocations_total 2", "musher_function_errors_total 1",
                "musher_function_throttles_total 1", "musher_function_duration_seconds_sum 0.024",
                "musher_function_duration_seconds_bucket{le=\"0.005\"} 1",
                "musher_function_async_events_received_total 1",
                "musher_function_async_event_age_seconds_sum 2",
                "musher_function_async_events_dropped_total{reason=\"age\"} 1",
                "musher_function_async_events_dropped_total{reason=\"retries\"} 0",
                "musher_function_http_responses_total{code=\"429\"} 1"});
}

TEST(FunctionMetrics, OfACallThatRunsAndOneThatIsThrottled) {
  std::promise<void> let_go;
  const auto held = let_go.get_future().share();
  std::promise<void> answered;
  FunctionService service(
      {.name = "dogs", .reserved_concurrency = 1, .events = {}, .state = {}},
      [&](const std::string& event, const FunctionContext&, FunctionLog&) {
        held.wait();
        return event;
      },
      make_silent_logger());
  ASSERT_TRUE(
      service.try_invoke({"id", "arn", "{}"}, [&](const Execution&) { answered.set_value(); }));
  EXPECT_FALSE(service.try_invoke({"id", "arn", "{}"}, [](const Execution&) {}));
  ASSERT_TRUE(service.try_queue({"event", "arn", "{}"}, [](bool) {}));
  expect_lines(
      page_of(service),
      {"musher_function_concurrent_executions 1", "musher_function_invocations_total 0",
       "musher_function_throttles_total 1", "musher_function_async_events_received_total 1",
       "musher_function_waiting_events 1"});
  let_go.set_value();
  answered.get_future().wait();
}

TEST(FunctionMetrics, OfAnEventThatIsGivenUp) {
  FunctionOptions options;
  options.name = "dogs";
  options.events.first_retry = 1ms;
  std::promise<void> third;
  std::atomic<int> executions = 0;
  FunctionService service(
      options,
      [&](const std::string&, const FunctionContext&, FunctionLog&) -> std::string {
        if (++executions == 3) third.set_value();
        throw FunctionError("ModelError", "never");
      },
      make_silent_logger());
  ASSERT_TRUE(service.try_queue({"event", "arn", "{}"}, [](bool) {}));
  third.get_future().wait();
  service.close();
  expect_lines(page_of(service),
               {"musher_function_invocations_total 3", "musher_function_errors_total 3",
                "musher_function_async_event_age_seconds_count 3",
                "musher_function_async_events_dropped_total{reason=\"retries\"} 1",
                "musher_function_concurrent_executions 0", "musher_function_waiting_events 0"});
}

}  // namespace
}  // namespace musher

#include "serving/function/function_metrics.h"

#include <string>

#include "monitoring/instruments.h"
#include "monitoring/page.h"

namespace musher {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::Registry;

struct FunctionMetrics::Impl {
  Registry registry;
  Counter& invocations =
      make_counter(registry, "musher_function_invocations_total",
                   "Lambda's Invocations: executions of the function that ended, those of events "
                   "and their retries too, and those that failed; what was throttled is none");
  Counter& errors =
      make_counter(registry, "musher_function_errors_total",
                   "Lambda's Errors: executions that ended in a function error or timed out");
  Counter& throttles = make_counter(registry, "musher_function_throttles_total",
                                    "Lambda's Throttles: calls and events that were answered 429");
  Histogram& duration = make_histogram(
      registry, "musher_function_duration_seconds",
      "Lambda's Duration (there in milliseconds): what the function took for one execution",
      // Up to the longest time-out that a function may have.
      {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900});
  Counter& events_received = make_counter(
      registry, "musher_function_async_events_received_total",
      "Lambda's AsyncEventsReceived: invocations of the type Event that were accepted");
  Histogram& event_age = make_histogram(
      registry, "musher_function_async_event_age_seconds",
      "Lambda's AsyncEventAge (there in milliseconds): from when an event was accepted until an "
      "execution of it began, for each of its executions",
      // Up to the greatest age that an event may have.
      {0.001, 0.01, 0.1, 1, 5, 15, 60, 180, 600, 1'800, 3'600, 7'200, 21'600});
  Family<Counter>& events_dropped =
      prometheus::BuildCounter()
          .Name("musher_function_async_events_dropped_total")
          .Help(
              "Lambda's AsyncEventsDropped: events that were given up without an execution that "
              "succeeded, being too old (age) or tried as often as may be (retries)")
          .Register(registry);
  Counter& too_old = events_dropped.Add({{"reason", "age"}});
  Counter& tried_often = events_dropped.Add({{"reason", "retries"}});
  Family<Counter>& responses =
      prometheus::BuildCounter()
          .Name("musher_function_http_responses_total")
          .Help(
              "All answers by HTTP status, refusals and /ping too; an error of the function's is "
              "200")
          .Register(registry);
};

FunctionMetrics::FunctionMetrics() : impl_(std::make_unique<Impl>()) {}
FunctionMetrics::~FunctionMetrics() = default;

void FunctionMetrics::add_execution(const Execution& execution) {
  impl_->invocations.Increment();
  if (execution.failed) impl_->errors.Increment();
  impl_->duration.Observe(in_seconds(execution.duration));
}

void FunctionMetrics::add_throttle() {
  impl_->throttles.Increment();
}

void FunctionMetrics::add_event() {
  impl_->events_received.Increment();
}

void FunctionMetrics::add_event_age(std::chrono::duration<double> age) {
  impl_->event_age.Observe(in_seconds(age));
}

void FunctionMetrics::add_event_drop(EventDrop why) {
  (why == EventDrop::kTooOld ? impl_->too_old : impl_->tried_often).Increment();
}

void FunctionMetrics::add(const AccessRecord& record) {
  impl_->responses.Add({{"code", std::to_string(record.status)}}).Increment();
}

void FunctionMetrics::add_to(MetricsPage& page, const FunctionNow& now) const {
  const auto gauge = [&page](const char* name, const char* help, std::size_t value) {
    page.gauge(name, help, static_cast<double>(value));
  };
  page.add(impl_->registry.Collect());
  gauge("musher_function_concurrent_executions",
        "Lambda's ConcurrentExecutions: executions under way", now.executions);
  gauge("musher_function_reserved_concurrency", "The most executions that may be under way",
        now.reserved_concurrency);
  gauge("musher_function_waiting_events",
        "Events that wait for an execution, their first or another", now.waiting_events);
  gauge("musher_function_connections", "Open connections", now.connections);
}

}  // namespace musher

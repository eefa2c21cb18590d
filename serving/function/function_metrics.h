#pragma once

#include <chrono>
#include <cstddef>
#include <memory>

#include "serving/function/execution.h"
#include "serving/http/server.h"

namespace musher {

class MetricsPage;

/// What a function is at.
struct FunctionNow {
  std::size_t executions = 0;            ///< under way
  std::size_t reserved_concurrency = 0;  ///< the most that may be
  std::size_t waiting_events = 0;
  std::size_t connections = 0;  ///< open, of callers
};

/// Why an event was given up.
enum class EventDrop { kTooOld, kTriedOften };

/// What a function's server counts from its start on, for `GET /metrics`: Lambda's metrics in
/// Prometheus' units, seconds. The help texts name the metric of CloudWatch that each is.
/// Thread-safe. https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
class FunctionMetrics {
 public:
  FunctionMetrics();
  ~FunctionMetrics();
  FunctionMetrics(const FunctionMetrics&) = delete;
  FunctionMetrics& operator=(const FunctionMetrics&) = delete;

  /// One execution ended, of a call that waits for it or of an event.
  void add_execution(const Execution& execution);
  /// A call or an event was refused, since too much runs or waits.
  void add_throttle();
  /// An event was accepted.
  void add_event();
  /// An execution of an event begins, so long after the event was accepted.
  void add_event_age(std::chrono::duration<double> age);
  void add_event_drop(EventDrop why);
  /// Every answer of the HTTP server.
  void add(const AccessRecord& record);

  void add_to(MetricsPage& page, const FunctionNow& now) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace musher {

/// How events are tried again: the defaults are Lambda's.
/// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
struct EventOptions {
  int max_retries = 2;  ///< after the first execution: MaximumRetryAttempts
  std::chrono::milliseconds max_age{21'600'000};  ///< MaximumEventAgeInSeconds: 6 hours
  std::chrono::milliseconds first_retry{60'000};  ///< after the first failure; then twice as long
  std::size_t max_events = 10'000;                ///< that wait
  std::uint64_t max_bytes = 256 << 20;            ///< of their payloads
};

/// An invocation of the type Event.
struct FunctionEvent {
  using Time = std::chrono::steady_clock::time_point;

  std::string request_id;
  std::string function_arn;  ///< as it was called
  std::string payload;
  Time accepted;
  int executions = 0;  ///< that have begun
};

/// The events that wait for an execution. Time is a parameter. One thread at a time.
class EventQueue {
 public:
  using Time = FunctionEvent::Time;

  explicit EventQueue(EventOptions options) : options_(options) {}

  /// False where too much waits.
  bool add(FunctionEvent event);

  /// The one that is due and has waited longest, with its execution counted.
  std::optional<FunctionEvent> take(Time now);

  /// After an execution that failed: how long it waits for the next. Empty: it is given up, having
  /// been tried often enough, or being too old by then.
  std::optional<std::chrono::milliseconds> retry(FunctionEvent event, Time now);

  /// Whether it has waited for longer than events may.
  bool too_old(const FunctionEvent& event, Time now) const;

  /// When take() next has something. Empty: nothing waits.
  std::optional<Time> next() const;

  /// All that wait, taken out.
  std::vector<FunctionEvent> clear();

  std::size_t size() const { return waiting_.size(); }

 private:
  using Waiting = std::multimap<Time, FunctionEvent>;
  FunctionEvent extract(Waiting::iterator at);

  const EventOptions options_;
  Waiting waiting_;  ///< by when they are due
  std::uint64_t bytes_ = 0;
};

}  // namespace musher

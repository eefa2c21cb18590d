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
  /// The calendar's, since an event may outlive a process.
  using Time = std::chrono::sys_time<std::chrono::milliseconds>;
  static Time now() {
    return std::chrono::time_point_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now());
  }

  std::int64_t number = 0;  ///< by which it is known on the disk; 0: it is not there
  std::string request_id;
  std::string function_arn;  ///< as it was called
  std::string payload;
  Time accepted;
  Time due;            ///< its next execution
  int executions = 0;  ///< that have begun
};

/// The events that wait for an execution. Time is a parameter. One thread at a time.
class EventQueue {
 public:
  using Time = FunctionEvent::Time;

  explicit EventQueue(EventOptions options) : options_(options) {}

  /// Takes a place for an event that is to be added. False where too much waits.
  bool take_place(const FunctionEvent& event);
  /// Gives it back.
  void leave_place(const FunctionEvent& event);

  /// REQUIRES: a place taken for it.
  void add(FunctionEvent event);
  /// One that was accepted by the process before, whatever waits.
  void restore(FunctionEvent event);

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
  Waiting waiting_;         ///< by when they are due
  std::size_t places_ = 0;  ///< taken, by those that wait and those that are to be added
  std::uint64_t bytes_ = 0;
};

}  // namespace musher

#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "common/log.h"
#include "common/thread.h"
#include "serving/endpoint/work_pool.h"
#include "serving/function/event_queue.h"
#include "serving/function/execution.h"
#include "serving/function/function_metrics.h"

namespace musher {

class EventJournal;

struct FunctionOptions {
  std::string name;
  /// Executions at a time, of calls that wait and of events together. 0: none at all.
  std::size_t reserved_concurrency = 10;
  std::chrono::milliseconds timeout{60'000};  ///< of one execution
  EventOptions events;
  /// Where events are kept until they have come to their end, a folder for this function alone.
  /// Empty: in memory.
  std::filesystem::path state;
};

/// Runs one function: at once, up to the reserved concurrency, for callers that wait, and from a
/// queue for events, as often as EventOptions say. With a folder an event that was accepted is
/// executed at least once, as in Lambda: whoever begins with the folder next goes on with what a
/// process that ended or was killed left there, and an execution that was cut off is made again.
/// Without one, those that wait when it ends are lost, each with a line in the log. Thread-safe.
class FunctionService {
 public:
  /// Throws as EventStore does.
  FunctionService(FunctionOptions options, Function function, Logger logger);
  ~FunctionService();  ///< close()
  FunctionService(const FunctionService&) = delete;
  FunctionService& operator=(const FunctionService&) = delete;

  struct Call {
    std::string request_id;
    std::string function_arn;
    std::string payload;
  };
  using Done = std::function<void(Execution)>;  ///< called once, on another thread; must not throw

  /// False, at once, where as many executions run as may: then nothing was done.
  bool try_invoke(Call call, Done done);

  /// Told whether the event was accepted, which is once it is on the disk; else the log says why
  /// not. Called once, perhaps on another thread; must not throw.
  using Queued = std::function<void(bool accepted)>;
  /// Takes an event. False, at once, where too many wait: then nothing was done.
  bool try_queue(Call call, Queued queued);

  /// What it counts and is at. `connections` is the HTTP server's number.
  void add_metrics(MetricsPage& page, std::size_t connections) const;
  FunctionMetrics& metrics() { return metrics_; }

  /// Lets what runs end. No call may come after. Idempotent; by one thread.
  void close();

 private:
  void recover();
  void add_event(FunctionEvent event, bool stored);
  void dispatch();
  void run(Call call, const Done& done);
  void start_event(FunctionEvent event);
  void event_ended(FunctionEvent event, const Execution& execution);
  void give_up(std::int64_t event, EventDrop why);
  bool take_slot();
  void free_slot();

  const FunctionOptions options_;
  const Function function_;
  const Logger logger_;
  FunctionMetrics metrics_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t running_ = 0;
  bool closing_ = false;
  EventQueue events_;
  const std::unique_ptr<EventJournal> journal_;  ///< empty: events are in memory
  WorkPool pool_;                                ///< a thread for each execution that may run
  Thread dispatcher_;
};

}  // namespace musher

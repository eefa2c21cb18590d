#include "serving/function/function_service.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "serving/function/event_journal.h"

namespace musher {
namespace {

double seconds(std::chrono::milliseconds time) {
  return static_cast<double>(time.count()) / 1000;
}

}  // namespace

FunctionService::FunctionService(FunctionOptions options, Function function, Logger logger)
    : options_(std::move(options)),
      function_(std::move(function)),
      logger_(std::move(logger)),
      events_(options_.events),
      journal_(options_.state.empty() ? nullptr
                                      : std::make_unique<EventJournal>(options_.state, logger_)),
      pool_("function", options_.reserved_concurrency, options_.reserved_concurrency + 1),
      dispatcher_("events", [this] { dispatch(); }) {
  if (journal_) recover();
}

FunctionService::~FunctionService() {
  close();
}

void FunctionService::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (dispatcher_.joinable()) dispatcher_.join();
  pool_.close();
  if (journal_) journal_->close();
  const std::vector<FunctionEvent> left = events_.clear();
  if (journal_) {
    if (!left.empty()) logger_->info("{} events wait for the next start", left.size());
    return;
  }
  for (const FunctionEvent& event : left)
    logger_->error("event {} is lost: the function ends before its turn", event.request_id);
}

/// Those that were too old before their turn came are given up when it has.
void FunctionService::recover() {
  std::vector<FunctionEvent> events = journal_->recover();
  if (!events.empty()) logger_->info("{} events were left by the process before", events.size());
  {
    const std::lock_guard lock(mutex_);
    for (FunctionEvent& event : events) events_.restore(std::move(event));
  }
  changed_.notify_all();
}

bool FunctionService::take_slot() {
  const std::lock_guard lock(mutex_);
  if (closing_ || running_ >= options_.reserved_concurrency) return false;
  ++running_;
  return true;
}

void FunctionService::free_slot() {
  {
    const std::lock_guard lock(mutex_);
    --running_;
  }
  changed_.notify_all();
}

bool FunctionService::try_invoke(Call call, Done done) {
  if (!take_slot()) {
    metrics_.add_throttle();
    return false;
  }
  // There is room: the pool's queue has as many places as there are slots.
  return pool_.try_add([this, call = std::move(call), done = std::move(done)]() mutable {
    run(std::move(call), done);
  });
}

void FunctionService::run(Call call, const Done& done) {
  const FunctionContext context = {.request_id = std::move(call.request_id),
                                   .function_name = options_.name,
                                   .function_arn = std::move(call.function_arn),
                                   .deadline = Deadline::after(options_.timeout)};
  Execution execution = execute(function_, call.payload, context, options_.timeout, logger_);
  metrics_.add_execution(execution);
  free_slot();  // before the answer, so that who has it may call again
  done(std::move(execution));
}

bool FunctionService::try_queue(Call call, Queued queued) {
  const auto now = FunctionEvent::now();
  FunctionEvent event = {.request_id = std::move(call.request_id),
                         .function_arn = std::move(call.function_arn),
                         .payload = std::move(call.payload),
                         .accepted = now,
                         .due = now};
  const bool taken = [&] {
    const std::lock_guard lock(mutex_);
    return !closing_ && events_.take_place(event);
  }();
  if (!taken) {
    metrics_.add_throttle();
    return false;
  }
  if (!journal_) {
    add_event(std::move(event), true);
    queued(true);
    return true;
  }
  journal_->accept(std::move(event),
                   [this, queued = std::move(queued)](FunctionEvent given, bool stored) {
                     add_event(std::move(given), stored);
                     queued(stored);
                   });
  return true;
}

void FunctionService::add_event(FunctionEvent event, bool stored) {
  {
    const std::lock_guard lock(mutex_);
    if (!stored) return events_.leave_place(event);
    events_.add(std::move(event));
  }
  metrics_.add_event();
  changed_.notify_all();
}

void FunctionService::add_metrics(MetricsPage& page, std::size_t connections) const {
  FunctionNow now = {.reserved_concurrency = options_.reserved_concurrency,
                     .connections = connections};
  {
    const std::lock_guard lock(mutex_);
    now.executions = running_;
    now.waiting_events = events_.size();
  }
  metrics_.add_to(page, now);
}

/// Starts events that are due whenever there is a slot, until close().
void FunctionService::dispatch() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    const bool room = running_ < options_.reserved_concurrency;
    const auto next = room ? events_.next() : std::nullopt;
    if (!next) {
      changed_.wait_for(lock, std::chrono::hours(1));
      continue;
    }
    const auto now = FunctionEvent::now();
    auto event = events_.take(now);
    if (!event) {
      changed_.wait_until(lock, *next);
      continue;
    }
    if (events_.too_old(*event, now)) {
      give_up(event->number, EventDrop::kTooOld);
      logger_->error("event {} is given up: it is older than {} s", event->request_id,
                     seconds(options_.events.max_age));
      continue;
    }
    metrics_.add_event_age(now - event->accepted);
    ++running_;
    start_event(*std::move(event));
  }
}

void FunctionService::start_event(FunctionEvent event) {
  pool_.try_add([this, event = std::move(event)]() mutable {
    Call call{event.request_id, event.function_arn, event.payload};
    run(std::move(call),
        [&](const Execution& execution) { event_ended(std::move(event), execution); });
  });
}

void FunctionService::event_ended(FunctionEvent event, const Execution& execution) {
  if (!execution.failed) {
    if (journal_) journal_->end(event.number);
    return;
  }
  const std::int64_t number = event.number;
  const std::string id = event.request_id;
  const int executions = event.executions;
  std::optional<std::chrono::milliseconds> wait;
  {
    const std::lock_guard lock(mutex_);
    const auto now = FunctionEvent::now();
    wait = events_.retry(std::move(event), now);
    // Under the lock: before what becomes of that execution.
    if (wait && journal_) journal_->retry({number, executions, now + *wait});
  }
  if (wait) {
    logger_->warn("event {} failed, execution {} of {}; the next in {} s", id, executions,
                  options_.events.max_retries + 1, seconds(*wait));
    changed_.notify_all();
    return;
  }
  const bool often = executions > options_.events.max_retries;
  give_up(number, often ? EventDrop::kTriedOften : EventDrop::kTooOld);
  logger_->error("event {} is given up after {} executions: {}", id, executions, execution.payload);
}

void FunctionService::give_up(std::int64_t event, EventDrop why) {
  metrics_.add_event_drop(why);
  if (journal_) journal_->end(event);
}

}  // namespace musher

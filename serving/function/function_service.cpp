#include "serving/function/function_service.h"

#include <utility>

#include <fmt/format.h>

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(std::chrono::milliseconds time) {
  return static_cast<double>(time.count()) / 1000;
}

}  // namespace

FunctionService::FunctionService(FunctionOptions options, Function function, Logger logger)
    : options_(std::move(options)),
      function_(std::move(function)),
      logger_(std::move(logger)),
      events_(options_.events),
      pool_("function", options_.reserved_concurrency, options_.reserved_concurrency + 1),
      dispatcher_("events", [this] { dispatch(); }) {}

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
  for (const FunctionEvent& event : events_.clear())
    logger_->error("event {} is lost: the function ends before its turn", event.request_id);
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

bool FunctionService::try_queue(Call call) {
  FunctionEvent event = {.request_id = std::move(call.request_id),
                         .function_arn = std::move(call.function_arn),
                         .payload = std::move(call.payload),
                         .accepted = Clock::now()};
  const bool taken = [&] {
    const std::lock_guard lock(mutex_);
    return !closing_ && events_.add(std::move(event));
  }();
  if (!taken) {
    metrics_.add_throttle();
    return false;
  }
  metrics_.add_event();
  changed_.notify_all();
  return true;
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
    const auto now = Clock::now();
    auto event = events_.take(now);
    if (!event) {
      changed_.wait_until(lock, *next);
      continue;
    }
    if (events_.too_old(*event, now)) {
      metrics_.add_event_drop(EventDrop::kTooOld);
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
    run(std::move(call), [&](const Execution& execution) {
      if (execution.failed) event_ended(std::move(event), execution);
    });
  });
}

void FunctionService::event_ended(FunctionEvent event, const Execution& execution) {
  const std::string id = event.request_id;
  const int executions = event.executions;
  std::optional<std::chrono::milliseconds> wait;
  {
    const std::lock_guard lock(mutex_);
    wait = events_.retry(std::move(event), Clock::now());
  }
  if (wait) {
    logger_->warn("event {} failed, execution {} of {}; the next in {} s", id, executions,
                  options_.events.max_retries + 1, seconds(*wait));
    changed_.notify_all();
  } else {
    const bool often = executions > options_.events.max_retries;
    metrics_.add_event_drop(often ? EventDrop::kTriedOften : EventDrop::kTooOld);
    logger_->error("event {} is given up after {} executions: {}", id, executions,
                   execution.payload);
  }
}

}  // namespace musher

#include "serving/function/event_queue.h"

#include <utility>

namespace musher {

bool EventQueue::take_place(const FunctionEvent& event) {
  const std::uint64_t size = event.payload.size();
  if (places_ >= options_.max_events || bytes_ + size > options_.max_bytes) return false;
  ++places_;
  bytes_ += size;
  return true;
}

void EventQueue::leave_place(const FunctionEvent& event) {
  --places_;
  bytes_ -= event.payload.size();
}

void EventQueue::add(FunctionEvent event) {
  const Time due = event.due;
  waiting_.emplace(due, std::move(event));
}

void EventQueue::restore(FunctionEvent event) {
  ++places_;
  bytes_ += event.payload.size();
  add(std::move(event));
}

FunctionEvent EventQueue::extract(Waiting::iterator at) {
  FunctionEvent event = std::move(at->second);
  waiting_.erase(at);
  leave_place(event);
  return event;
}

std::optional<FunctionEvent> EventQueue::take(Time now) {
  if (waiting_.empty() || waiting_.begin()->first > now) return std::nullopt;
  FunctionEvent event = extract(waiting_.begin());
  ++event.executions;
  return event;
}

std::optional<std::chrono::milliseconds> EventQueue::retry(FunctionEvent event, Time now) {
  if (event.executions > options_.max_retries) return std::nullopt;
  const auto wait = options_.first_retry * (1 << (event.executions - 1));
  if (too_old(event, now + wait)) return std::nullopt;
  event.due = now + wait;
  restore(std::move(event));
  return wait;
}

bool EventQueue::too_old(const FunctionEvent& event, Time now) const {
  return event.accepted + options_.max_age < now;
}

std::optional<EventQueue::Time> EventQueue::next() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.begin()->first;
}

std::vector<FunctionEvent> EventQueue::clear() {
  std::vector<FunctionEvent> all;
  while (!waiting_.empty()) all.push_back(extract(waiting_.begin()));
  return all;
}

}  // namespace musher

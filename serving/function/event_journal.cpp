#include "serving/function/event_journal.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>

namespace musher {

EventJournal::EventJournal(const std::filesystem::path& folder, Logger logger)
    : logger_(std::move(logger)), store_(folder), recovered_(store_.all()) {
  if (!recovered_.empty()) next_number_ = recovered_.back().number + 1;
  thread_ = Thread("event-journal", [this] { write_until_closed(); });
}

EventJournal::~EventJournal() {
  close();
}

void EventJournal::accept(FunctionEvent event, Stored stored) {
  {
    const std::lock_guard lock(mutex_);
    event.number = next_number_++;
    pending_.accepted.push_back(std::move(event));
    stored_.push_back(std::move(stored));
  }
  changed_.notify_one();
}

void EventJournal::retry(const EventStore::Retry& retry) {
  {
    const std::lock_guard lock(mutex_);
    pending_.retries.push_back(retry);
  }
  changed_.notify_one();
}

void EventJournal::end(std::int64_t number) {
  {
    const std::lock_guard lock(mutex_);
    pending_.ended.push_back(number);
  }
  changed_.notify_one();
}

void EventJournal::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void EventJournal::write_until_closed() {
  std::unique_lock lock(mutex_);
  EventStore::Changes kept;  // of a transaction that failed: what may be late
  while (true) {
    while (!closing_ && pending_.empty()) changed_.wait_for(lock, std::chrono::hours(1));
    if (pending_.empty() && kept.empty()) return;
    const bool last = closing_;
    EventStore::Changes changes = std::exchange(kept, {});
    changes.accepted = std::exchange(pending_.accepted, {});
    std::ranges::move(pending_.retries, std::back_inserter(changes.retries));
    std::ranges::move(pending_.ended, std::back_inserter(changes.ended));
    pending_ = {};
    const std::vector<Stored> stored = std::exchange(stored_, {});
    lock.unlock();
    const bool good = write(changes);
    answer(std::move(changes.accepted), stored, good);
    if (!good && !last) kept = {{}, std::move(changes.retries), std::move(changes.ended)};
    lock.lock();
  }
}

bool EventJournal::write(const EventStore::Changes& changes) {
  try {
    store_.apply(changes);
    return true;
  } catch (const std::exception& error) {
    logger_->error("what became of events can't be written: {}", error.what());
    return false;
  }
}

void EventJournal::answer(std::vector<FunctionEvent> events, const std::vector<Stored>& stored,
                          bool good) {
  for (std::size_t i = 0; i < events.size(); ++i) stored[i](std::move(events[i]), good);
}

}  // namespace musher

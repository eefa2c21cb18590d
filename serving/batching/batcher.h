#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/thread.h"
#include "serving/batching/batch_queue.h"

namespace musher {

/// BatchQueue with threads: one for each instance that runs batches, and one that sends away whose
/// deadline passed, also while all instances are busy. Thread-safe.
template <typename Item>
class Batcher {
 public:
  using Time = typename BatchQueue<Item>::Time;
  using Ticket = typename BatchQueue<Item>::Ticket;
  /// Runs a batch on one of the instances, counted from 0; must not throw.
  using Run = std::function<void(std::size_t instance, std::vector<Item> batch)>;
  /// For a request whose deadline passed before it ran; must not throw.
  using Expired = std::function<void(Item)>;

  /// Throws as check(options).
  Batcher(const BatchingOptions& options, std::size_t instances, Run run, Expired expired)
      : queue_((check(options), options)), run_(std::move(run)), expired_(std::move(expired)) {
    for (std::size_t i = 0; i < instances; ++i)
      threads_.emplace_back("batch-" + std::to_string(i), [this, i] { run_batches(i); });
    threads_.emplace_back("batch-expiry", [this] { watch_deadlines(); });
  }
  ~Batcher() { close(); }
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// Empty where the queue is full or closed: then `item` is untouched.
  std::optional<Ticket> submit(Item&& item, Time deadline) {
    bool wake_instance = false;
    bool wake_watch = false;
    std::optional<Ticket> ticket;
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return ticket;
      const Time now = Clock::now();
      const bool first = queue_.size() == 0;
      ticket = queue_.push(std::move(item), now, deadline);
      if (!ticket) return ticket;
      // At a high rate a thread that is woken for nothing costs more than all else here. The first
      // request needs somebody who waits out its delay; those after it only a batch that is due.
      wake_instance = idle_ > 0 && (first || queue_.has_batch(now));
      wake_watch = deadline < watched_until_;
    }
    if (wake_instance) work_.notify_one();
    if (wake_watch) watch_.notify_one();
    return ticket;
  }

  /// Takes a request out that waits; empty where it runs or has run.
  std::optional<Item> cancel(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    return queue_.remove(ticket);
  }

  std::size_t queued() const {
    const std::lock_guard lock(mutex_);
    return queue_.size();
  }

  /// Takes nothing new, runs what waits, and ends. Idempotent; by one thread.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    work_.notify_all();
    watch_.notify_one();
    for (Thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  void run_batches(std::size_t instance) {
    std::unique_lock lock(mutex_);
    while (true) {
      const Time now = Clock::now();
      std::vector<Item> expired = queue_.take_expired(now);
      std::vector<Item> batch = queue_.take_batch(now, /*hurry=*/closed_);
      if (batch.empty() && expired.empty()) {
        if (closed_) return;
        ++idle_;
        wait(work_, lock, queue_.next_batch());
        --idle_;
        continue;
      }
      if (idle_ > 0 && queue_.size() > 0) work_.notify_one();  // for what is left
      if (closed_) watch_.notify_one();  // watch_deadlines() ends with the last that waits
      lock.unlock();
      send_away(std::move(expired));
      if (!batch.empty()) run_(instance, std::move(batch));
      lock.lock();
    }
  }

  void watch_deadlines() {
    std::unique_lock lock(mutex_);
    while (!closed_ || queue_.size() > 0) {
      std::vector<Item> expired = queue_.take_expired(Clock::now());
      if (expired.empty()) {
        // Most requests have gone by then: it looks again, and waits for those that are there.
        const std::optional<Time> next = queue_.next_expiry();
        watched_until_ = next.value_or(Time::max());
        wait(watch_, lock, next);
        continue;
      }
      lock.unlock();
      send_away(std::move(expired));
      lock.lock();
    }
  }

  void send_away(std::vector<Item> expired) {
    for (Item& item : expired) expired_(std::move(item));
  }

  static void wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                   std::optional<Time> until) {
    if (until) {
      changed.wait_until(lock, *until);
    } else {
      changed.wait(lock);
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable work_;   ///< there may be a batch for an instance that is idle
  std::condition_variable watch_;  ///< there is a deadline earlier than watched_until_
  BatchQueue<Item> queue_;
  std::size_t idle_ = 0;              ///< instances that wait for work
  Time watched_until_ = Time::max();  ///< when watch_deadlines() looks again by itself
  bool closed_ = false;
  Run run_;
  Expired expired_;
  std::vector<Thread> threads_;
};

}  // namespace musher

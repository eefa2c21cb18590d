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
    std::optional<Ticket> ticket;
    {
      const std::lock_guard lock(mutex_);
      if (!closed_) ticket = queue_.push(std::move(item), Clock::now(), deadline);
    }
    changed_.notify_all();
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
    changed_.notify_all();
    for (Thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  void run_batches(std::size_t instance) {
    std::unique_lock lock(mutex_);
    while (true) {
      std::vector<Item> expired = queue_.take_expired(Clock::now());
      std::vector<Item> batch = queue_.take_batch(Clock::now(), /*hurry=*/closed_);
      if (batch.empty() && expired.empty()) {
        if (closed_) return;
        wait(lock, queue_.next_batch());
        continue;
      }
      if (closed_) changed_.notify_all();  // watch_deadlines() ends with the last that waits
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
        wait(lock, queue_.next_expiry());
        continue;
      }
      lock.unlock();
      send_away(std::move(expired));
      lock.lock();
      changed_.notify_all();
    }
  }

  void send_away(std::vector<Item> expired) {
    for (Item& item : expired) expired_(std::move(item));
  }

  void wait(std::unique_lock<std::mutex>& lock, std::optional<Time> until) {
    if (until) {
      changed_.wait_until(lock, *until);
    } else {
      changed_.wait(lock);
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  BatchQueue<Item> queue_;
  bool closed_ = false;
  Run run_;
  Expired expired_;
  std::vector<Thread> threads_;
};

}  // namespace musher

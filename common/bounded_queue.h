#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "common/deadline.h"

namespace musher {

/// How a wait on a queue ended. None of them is an error.
enum class QueueStatus {
  kOk,
  kClosed,    ///< push: nothing more is taken; pop: nothing more will come
  kTimedOut,  ///< the deadline passed first
};

/// A queue between threads that holds at most `capacity` of weight, in whatever unit its owner
/// chooses (bytes, items), so that a fast producer waits for a slow consumer instead of filling
/// memory. First in, first out. Thread-safe, any number of producers and consumers. It must outlive
/// all threads that wait on it: close it, join them, then destroy it.
template <typename T>
class BoundedQueue {
 public:
  struct Popped {
    QueueStatus status;
    std::optional<T> item;  ///< holds a value exactly where status is kOk
  };

  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  /// Waits for room. An item heavier than the whole capacity is taken once the queue is empty, so
  /// it never waits for ever. `item` is moved from on kOk only.
  QueueStatus push(T&& item, std::size_t weight, Deadline deadline) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] {
      return closed_ || entries_.empty() || weight <= capacity_ - std::min(capacity_, weight_);
    };
    if (!room_.wait_until(lock, deadline.when(), ready)) return QueueStatus::kTimedOut;
    if (closed_) return QueueStatus::kClosed;
    entries_.push_back({std::move(item), weight});
    weight_ += weight;
    lock.unlock();
    filled_.notify_one();
    return QueueStatus::kOk;
  }

  /// Waits for an item. After close() what is left still comes out, then kClosed.
  Popped pop(Deadline deadline) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return closed_ || !entries_.empty(); };
    if (!filled_.wait_until(lock, deadline.when(), ready)) return {QueueStatus::kTimedOut, {}};
    if (entries_.empty()) return {QueueStatus::kClosed, {}};
    Popped popped{QueueStatus::kOk, std::move(entries_.front().item)};
    weight_ -= entries_.front().weight;
    entries_.pop_front();
    lock.unlock();
    room_.notify_all();  // weights differ: the room may suit any of the waiting producers
    return popped;
  }

  /// Wakes all who wait. Idempotent.
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    room_.notify_all();
    filled_.notify_all();
  }

  /// close(), and drops what was not popped yet.
  void close_and_discard() {
    std::deque<Entry> dropped;  // destroyed outside the lock
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      dropped.swap(entries_);
      weight_ = 0;
    }
    room_.notify_all();
    filled_.notify_all();
  }

  /// A snapshot, for metrics.
  std::size_t size() const {
    std::lock_guard lock(mutex_);
    return entries_.size();
  }

 private:
  struct Entry {
    T item;
    std::size_t weight;
  };

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable filled_;
  std::deque<Entry> entries_;
  std::size_t weight_ = 0;
  bool closed_ = false;
};

}  // namespace musher

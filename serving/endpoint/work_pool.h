#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "common/bounded_queue.h"
#include "common/thread.h"

namespace musher {

/// Threads that do what they are given, with a limit to what waits. Thread-safe.
class WorkPool {
 public:
  using Task = std::function<void()>;  ///< must not throw

  WorkPool(const std::string& name, std::size_t threads, std::size_t max_waiting)
      : tasks_(max_waiting) {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.emplace_back(name + "-" + std::to_string(i), [this] { work(); });
  }
  ~WorkPool() { close(); }
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  /// False, at once, where too much waits.
  bool try_add(Task&& task) {
    return tasks_.push(std::move(task), 1, Deadline::after({})) == QueueStatus::kOk;
  }

  /// Does what waits and ends. Idempotent; by one thread.
  void close() {
    tasks_.close();
    threads_.clear();
  }

 private:
  void work() {
    while (true) {
      auto popped = tasks_.pop(Deadline::after(std::chrono::hours(1)));
      if (popped.status == QueueStatus::kClosed) return;
      if (popped.item) (*popped.item)();
    }
  }

  BoundedQueue<Task> tasks_;
  std::vector<Thread> threads_;
};

}  // namespace musher

#include "common/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <vector>

#include "common/thread.h"

namespace musher {

void in_parallel(const std::string& name, std::size_t threads, std::size_t count,
                 const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  std::vector<std::exception_ptr> errors(count);
  const auto body = [&] {
    while (!failed) {
      const std::size_t i = next++;
      if (i >= count) return;
      try {
        work(i);
      } catch (...) {
        errors[i] = std::current_exception();
        failed = true;
      }
    }
  };
  {
    std::vector<Thread> running;
    for (std::size_t i = 0; i < std::min(count, threads); ++i) running.emplace_back(name, body);
    for (Thread& thread : running) thread.join_and_rethrow();
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace musher

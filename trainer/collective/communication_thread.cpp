#include "trainer/collective/communication_thread.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include <pthread.h>

#include "common/error.h"

namespace musher {
namespace {
constexpr std::size_t kMostWaiting = 1024;
constexpr std::chrono::seconds kLeaveAfter{5};
}  // namespace

struct CommunicationThread::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::packaged_task<void()>> waiting;
  bool closed = false;

  void run() {
    pthread_setname_np(pthread_self(), "musher-comm");
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return closed || !waiting.empty(); });
      if (waiting.empty()) return;
      auto operation = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      operation();
      operation = {};  // lets go of what the operation owned before the next wait
      lock.lock();
    }
  }
};

CommunicationThread::CommunicationThread() : queue_(std::make_shared<Queue>()) {
  std::packaged_task<void()> body([queue = queue_] { queue->run(); });
  ended_ = body.get_future();
  thread_ = std::thread(std::move(body));
}

CommunicationThread::~CommunicationThread() {
  {
    std::lock_guard lock(queue_->mutex);
    queue_->closed = true;
  }
  queue_->changed.notify_one();
  if (ended_.wait_for(kLeaveAfter) == std::future_status::ready) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

std::future<void> CommunicationThread::post(std::function<void()> operation) {
  std::packaged_task<void()> task(std::move(operation));
  auto result = task.get_future();
  {
    std::lock_guard lock(queue_->mutex);
    if (queue_->waiting.size() >= kMostWaiting) {
      throw Error(ErrorCode::kResourceExhausted,
                  "more than 1024 collective operations are outstanding: wait for the first ones");
    }
    queue_->waiting.push_back(std::move(task));
  }
  queue_->changed.notify_one();
  return result;
}

}  // namespace musher

#pragma once

#include <functional>
#include <future>
#include <memory>
#include <thread>

namespace musher {

/// Runs a collective's operations one after another beside the caller. An operation may hang in a
/// library that has no time-out (MPI, when a peer is stopped): the destructor then waits a few
/// seconds and leaves the thread behind, so an operation must own, by shared pointer, all that it
/// touches but the caller's buffers. post() comes from one thread at a time.
class CommunicationThread {
 public:
  CommunicationThread();
  ~CommunicationThread();
  CommunicationThread(const CommunicationThread&) = delete;
  CommunicationThread& operator=(const CommunicationThread&) = delete;

  /// The future holds what the operation threw. Throws Error (resource exhausted) when 1024
  /// operations wait.
  std::future<void> post(std::function<void()> operation);

 private:
  struct Queue;
  std::shared_ptr<Queue> queue_;
  std::future<void> ended_;
  std::thread thread_;
};

}  // namespace musher

#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>

#include "trainer/client/coordinator_client.h"

namespace musher {

/// That training is to end at the next step boundary, with everything saved, and why: asked for on
/// this host, by a signal or a notice, rather than by the coordinator. The first reason counts, but
/// that EC2 takes the host back is told after another, too. Thread-safe.
class StopRequest {
 public:
  using Listener = std::function<void(const Interruption&)>;

  /// Tells the listener, and then raises the flag: who acts on the flag can rely on the other.
  void raise(Interruption why);
  /// Told at once what was raised before. Replaces the one before, which is not running any more on
  /// return.
  void listen(Listener listener);
  const std::atomic<bool>& flag() const { return flag_; }

 private:
  std::mutex mutex_;
  std::optional<Interruption> why_;
  Listener listener_;
  std::atomic<bool> flag_ = false;
};

}  // namespace musher

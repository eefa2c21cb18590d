#include "trainer/watch.h"

#include <chrono>

namespace musher {
namespace {
constexpr std::chrono::milliseconds kInterval{100};
}

Watch::Watch(CoordinatorClient& client)
    : client_(client), thread_("watch", [this](const std::stop_token& stop) { run(stop); }) {}

void Watch::follow(Collective* collective) {
  const std::lock_guard lock(mutex_);
  collective_ = collective;
  aborted_ = false;
}

void Watch::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const Directives directives = client_.directives();
    if (collective_ != nullptr && !aborted_ &&
        (directives.stale || directives.regroup || !directives.failure.empty())) {
      collective_->abort();
      aborted_ = true;
    }
    wake_.wait_for(lock, stop, kInterval, [] { return false; });
  }
}

}  // namespace musher

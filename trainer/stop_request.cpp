#include "trainer/stop_request.h"

#include <utility>

namespace musher {

void StopRequest::raise(Interruption why) {
  const std::lock_guard lock(mutex_);
  if (why_ && (why_->spot || !why.spot)) return;
  why_ = std::move(why);
  if (listener_) listener_(*why_);
  flag_ = true;
}

void StopRequest::listen(Listener listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
  if (listener_ && why_) listener_(*why_);
}

}  // namespace musher

#include "serving/http/exchange.h"

#include <utility>

namespace musher {

Exchange::~Exchange() {
  if (send_) send_(http_error(500, "InternalFailure", "the request was dropped without an answer"));
}

void Exchange::answer(HttpResponse response) {
  std::function<void(HttpResponse)> send;
  std::function<void()> forgotten;  // destroyed outside the lock
  {
    const std::lock_guard lock(mutex_);
    send = std::exchange(send_, nullptr);
    forgotten = std::exchange(on_cancel_, nullptr);
  }
  if (send) send(std::move(response));
}

bool Exchange::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

void Exchange::on_cancel(std::function<void()> action) {
  {
    const std::lock_guard lock(mutex_);
    if (!cancelled_) {
      if (send_) on_cancel_ = std::move(action);
      return;
    }
  }
  action();
}

void Exchange::cancel() {
  std::function<void()> action;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    action = std::exchange(on_cancel_, nullptr);
  }
  if (action) action();
}

std::shared_ptr<Exchange> forward(std::shared_ptr<Exchange> outer,
                                  std::function<HttpResponse(HttpResponse)> edit) {
  Exchange& waiting = *outer;
  auto inner = std::make_shared<Exchange>(
      [outer = std::move(outer), edit = std::move(edit)](HttpResponse response) {
        outer->answer(edit(std::move(response)));
      });
  waiting.on_cancel([weak = std::weak_ptr(inner)] {
    if (const auto living = weak.lock()) living->cancel();
  });
  return inner;
}

}  // namespace musher

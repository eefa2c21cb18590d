#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "serving/http/message.h"

namespace musher {

/// The answer that a request waits for. Whoever handles the request keeps it and answers once, from
/// any thread; where all let go of it without an answer, the answer is 500. Thread-safe.
class Exchange {
 public:
  /// `send` gets the one answer.
  explicit Exchange(std::function<void(HttpResponse)> send) : send_(std::move(send)) {}
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// The first call counts.
  void answer(HttpResponse response);

  /// Whether the client went away.
  bool cancelled() const;
  /// Called once, on another thread, when the client goes away before it has an answer; at once
  /// where it has gone.
  void on_cancel(std::function<void()> action);

  /// By the server.
  void cancel();

 private:
  mutable std::mutex mutex_;
  std::function<void(HttpResponse)> send_;  ///< empty once answered
  std::function<void()> on_cancel_;
  bool cancelled_ = false;
};

/// An exchange whose answer goes on to `outer`, through `edit`, and that is cancelled when that is.
std::shared_ptr<Exchange> forward(std::shared_ptr<Exchange> outer,
                                  std::function<HttpResponse(HttpResponse)> edit);

/// Called on an I/O thread, so it must not wait: it answers at once or hands the exchange on.
using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<Exchange>)>;

}  // namespace musher

#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace musher {

/// A named thread that is asked to stop and joined when it goes out of scope. What its body throws
/// never ends the process: it goes to `on_error`, called on that thread, or else is kept for
/// join_and_rethrow(). Movable; one owner.
class Thread {
 public:
  using Body = std::function<void(std::stop_token)>;
  using OnError = std::function<void(std::exception_ptr)>;

  Thread() = default;
  /// `name`: what `ps -L` and debuggers show; Linux keeps the first 15 bytes.
  Thread(const std::string& name, Body body, OnError on_error = {});
  /// For a body that takes no stop token.
  template <typename F>
  requires(std::is_invocable_v<F&> && !std::is_invocable_v<F&, std::stop_token>)
      Thread(const std::string& name, F body, OnError on_error = {})
      : Thread(name, Body([body = std::move(body)](const std::stop_token&) mutable { body(); }),
               std::move(on_error)) {}

  Thread(Thread&&) = default;
  Thread& operator=(Thread&&) = default;
  ~Thread() = default;

  bool joinable() const { return thread_.joinable(); }
  /// Only a wish: the body sees it in its stop token. A body that waits on something else has to be
  /// woken through that.
  void request_stop() { thread_.request_stop(); }
  void join() { thread_.join(); }
  /// join(), then throws what the body threw, if it did and no `on_error` took it.
  void join_and_rethrow();

 private:
  std::shared_ptr<std::exception_ptr>
      error_;  // shared with the thread, so that this object can move
  std::jthread thread_;
};

/// The message of any exception, for a log line.
std::string describe(const std::exception_ptr& error);

}  // namespace musher

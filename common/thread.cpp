#include "common/thread.h"

#include <pthread.h>

namespace musher {

Thread::Thread(const std::string& name, Body body, OnError on_error)
    : error_(std::make_shared<std::exception_ptr>()),
      thread_([name = name.substr(0, 15), body = std::move(body), on_error = std::move(on_error),
               error = error_](const std::stop_token& stop) {
        pthread_setname_np(pthread_self(), name.c_str());
        try {
          body(stop);
        } catch (...) {
          if (on_error) {
            on_error(std::current_exception());
          } else {
            *error = std::current_exception();
          }
        }
      }) {}

void Thread::join_and_rethrow() {
  thread_.join();
  if (const auto error = std::exchange(*error_, nullptr)) std::rethrow_exception(error);
}

std::string describe(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "an exception that is not a std::exception";
  }
}

}  // namespace musher

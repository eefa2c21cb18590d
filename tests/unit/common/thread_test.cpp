#include "common/thread.h"

#include <condition_variable>
#include <future>
#include <mutex>

#include <gtest/gtest.h>
#include <pthread.h>

#include "common/error.h"

namespace musher {
namespace {

TEST(Thread, CarriesItsNameEvenIfItIsTooLong) {
  std::string name(16, '\0');
  Thread thread("a-name-of-many-letters",
                [&] { pthread_getname_np(pthread_self(), name.data(), name.size()); });
  thread.join();
  EXPECT_STREQ(name.c_str(), "a-name-of-many-");
}

TEST(Thread, AnExceptionDoesNotEndTheProcess) {
  Thread thread("throws", [] { throw Error(ErrorCode::kDataLoss, "rotten"); });
  try {
    thread.join_and_rethrow();
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  }
}

TEST(Thread, AnExceptionGoesToWhoAskedForIt) {
  std::string message;
  Thread thread(
      "throws", [] { throw std::runtime_error("rotten"); },
      [&](std::exception_ptr error) { message = describe(error); });
  thread.join_and_rethrow();
  EXPECT_EQ(message, "rotten");
}

TEST(Thread, DestructionAsksToStopAndJoins) {
  bool stopped = false;
  {
    std::promise<void> running;
    Thread thread("waits", [&](std::stop_token stop) {
      std::mutex mutex;
      std::condition_variable_any changed;
      std::unique_lock lock(mutex);
      running.set_value();
      changed.wait(lock, stop, [] { return false; });
      stopped = true;
    });
    Thread moved = std::move(thread);
    running.get_future().wait();
  }
  EXPECT_TRUE(stopped);
}

TEST(Thread, DescribesWhatIsNoException) {
  EXPECT_EQ(describe(std::make_exception_ptr(42)), "an exception that is not a std::exception");
}

}  // namespace
}  // namespace musher

#include "serving/batching/batcher.h"

#include <atomic>
#include <future>
#include <numeric>
#include <set>
#include <thread>

#include <gtest/gtest.h>

namespace musher {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kNever = Clock::time_point::max();
constexpr auto kLong = std::chrono::seconds(30);

BatchingOptions options_of(std::size_t max, std::chrono::microseconds delay,
                           std::size_t max_queued = 1000) {
  return {.max_batch_size = max,
          .max_batch_delay = delay,
          .preferred_sizes = {},
          .max_queued = max_queued};
}

TEST(Batcher, EveryRequestRunsOnceAndNoBatchIsTooLarge) {
  constexpr int kThreads = 4;
  constexpr int kEach = 500;
  constexpr std::size_t kAll = std::size_t{kThreads} * kEach;
  std::mutex mutex;
  std::multiset<int> ran;
  std::size_t largest = 0;
  {
    Batcher<int> batcher(
        options_of(8, std::chrono::microseconds(100), kAll), 2,
        [&](std::size_t, const std::vector<int>& batch) {
          const std::lock_guard lock(mutex);
          largest = std::max(largest, batch.size());
          ran.insert(batch.begin(), batch.end());
        },
        [](int) { ADD_FAILURE() << "nothing expires"; });
    std::vector<std::thread> senders;
    senders.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
      senders.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i)
          EXPECT_TRUE(batcher.submit(t * kEach + i, kNever).has_value());
      });
    }
    for (auto& sender : senders) sender.join();
  }  // what waits still runs
  EXPECT_LE(largest, 8u);
  ASSERT_EQ(ran.size(), kAll);
  EXPECT_EQ(std::set<int>(ran.begin(), ran.end()).size(), ran.size());
}

/// An instance that runs one batch until it is let go.
struct Busy {
  std::promise<void> began, go_on;
  std::vector<std::vector<int>> batches;
  Batcher<int>::Run run() {
    return [this](std::size_t, std::vector<int> batch) {
      batches.push_back(std::move(batch));
      if (batches.size() > 1) return;
      began.set_value();
      go_on.get_future().wait_for(kLong);
    };
  }
};

TEST(Batcher, WhatWaitsWhileTheInstanceIsBusyRunsTogether) {
  Busy busy;
  Batcher<int> batcher(options_of(8, std::chrono::microseconds(0), 8), 1, busy.run(), [](int) {});
  batcher.submit(1, kNever);
  busy.began.get_future().wait_for(kLong);
  for (int i = 2; i <= 9; ++i) EXPECT_TRUE(batcher.submit(int{i}, kNever).has_value());
  EXPECT_FALSE(batcher.submit(10, kNever).has_value());  // full
  EXPECT_EQ(batcher.queued(), 8u);
  busy.go_on.set_value();
  batcher.close();
  ASSERT_EQ(busy.batches.size(), 2u);
  EXPECT_EQ(busy.batches[1], (std::vector<int>{2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_FALSE(batcher.submit(11, kNever).has_value());  // closed
}

TEST(Batcher, ADeadlineIsKeptWhileAllInstancesAreBusy) {
  Busy busy;
  std::promise<int> expired;
  Batcher<int> batcher(options_of(1, std::chrono::microseconds(0)), 1, busy.run(),
                       [&](int item) { expired.set_value(item); });
  batcher.submit(1, kNever);
  busy.began.get_future().wait_for(kLong);
  batcher.submit(2, Clock::now() + std::chrono::milliseconds(20));
  auto gone = expired.get_future();
  ASSERT_EQ(gone.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(gone.get(), 2);
  busy.go_on.set_value();
  batcher.close();
  EXPECT_EQ(busy.batches.size(), 1u);
}

TEST(Batcher, AnEarlierDeadlineThatComesLaterIsKept) {
  Busy busy;
  std::promise<int> expired;
  Batcher<int> batcher(options_of(1, std::chrono::microseconds(0)), 1, busy.run(), [&](int item) {
    if (item == 3) expired.set_value(item);
  });
  batcher.submit(1, kNever);
  busy.began.get_future().wait_for(kLong);
  batcher.submit(2, Clock::now() + std::chrono::hours(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(1));  // it may watch that one by now
  batcher.submit(3, Clock::now() + std::chrono::milliseconds(20));
  EXPECT_EQ(expired.get_future().wait_for(kLong), std::future_status::ready);
  busy.go_on.set_value();
}

TEST(Batcher, WhatABatchLeavesAnIdleInstanceTakes) {
  for (int round = 0; round < 50; ++round) {
    std::mutex mutex;
    std::condition_variable changed;
    int ran = 0;
    Batcher<int> batcher(
        options_of(2, std::chrono::milliseconds(1)), 2,
        [&](std::size_t, const std::vector<int>& batch) {
          std::unique_lock lock(mutex);
          ran += static_cast<int>(batch.size());
          changed.notify_all();
          // Whoever ran first is busy until the other has run too.
          EXPECT_TRUE(changed.wait_for(lock, kLong, [&] { return ran == 3; }));
        },
        [](int) {});
    for (int i = 0; i < 3; ++i) batcher.submit(int{i}, kNever);
    batcher.close();
  }
}

TEST(Batcher, ClosingEndsEveryThreadWhateverWaits) {
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> ran = 0;
    Batcher<int> batcher(
        options_of(2, std::chrono::seconds(10)), 1,
        [&](std::size_t, const std::vector<int>& batch) { ran += static_cast<int>(batch.size()); },
        [](int) {});
    for (int i = 0; i < round % 7; ++i) batcher.submit(int{i}, kNever);
    batcher.close();
    EXPECT_EQ(ran, round % 7);
  }
}

TEST(Batcher, ACancelledRequestDoesNotRun) {
  Busy busy;
  Batcher<int> batcher(options_of(1, std::chrono::microseconds(0)), 1, busy.run(), [](int) {});
  const auto first = batcher.submit(1, kNever);
  busy.began.get_future().wait_for(kLong);
  const auto second = batcher.submit(2, kNever);
  EXPECT_EQ(batcher.cancel(*second), 2);
  EXPECT_EQ(batcher.cancel(*first), std::nullopt);
  busy.go_on.set_value();
  batcher.close();
  EXPECT_EQ(busy.batches.size(), 1u);
}

}  // namespace
}  // namespace musher

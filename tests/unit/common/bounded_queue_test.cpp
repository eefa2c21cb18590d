#include "common/bounded_queue.h"

#include <atomic>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "common/thread.h"

namespace musher {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

Deadline now() {
  return Deadline::after(milliseconds(0));
}
Deadline far() {
  return Deadline::after(minutes(5));
}

TEST(BoundedQueue, HandsOutInOrder) {
  BoundedQueue<int> queue(3);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(queue.push(int(i), 1, now()), QueueStatus::kOk);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.pop(now()).item, i);
}

TEST(BoundedQueue, TakesNoMoreThanItsWeight) {
  BoundedQueue<int> queue(10);
  EXPECT_EQ(queue.push(1, 6, now()), QueueStatus::kOk);
  EXPECT_EQ(queue.push(2, 5, now()), QueueStatus::kTimedOut);
  EXPECT_EQ(queue.push(3, 4, now()), QueueStatus::kOk);
  EXPECT_EQ(queue.pop(now()).item, 1);
  EXPECT_EQ(queue.push(4, 6, now()), QueueStatus::kOk);
}

TEST(BoundedQueue, AnItemHeavierThanTheQueueGoesThroughAlone) {
  BoundedQueue<int> queue(10);
  EXPECT_EQ(queue.push(1, 100, now()), QueueStatus::kOk);
  EXPECT_EQ(queue.push(2, 1, now()), QueueStatus::kTimedOut);
  EXPECT_EQ(queue.pop(now()).item, 1);
  EXPECT_EQ(queue.push(2, 1, now()), QueueStatus::kOk);
}

TEST(BoundedQueue, AnItemThatWasNotTakenIsNotMovedFrom) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  ASSERT_EQ(queue.push(std::make_unique<int>(1), 1, now()), QueueStatus::kOk);
  auto kept = std::make_unique<int>(2);
  EXPECT_EQ(queue.push(std::move(kept), 1, now()), QueueStatus::kTimedOut);
  EXPECT_NE(kept, nullptr);
  queue.close();
  EXPECT_EQ(queue.push(std::move(kept), 1, now()), QueueStatus::kClosed);
  EXPECT_NE(kept, nullptr);
}

TEST(BoundedQueue, AnEmptyOneTimesOut) {
  BoundedQueue<int> queue(1);
  const auto popped = queue.pop(now());
  EXPECT_EQ(popped.status, QueueStatus::kTimedOut);
  EXPECT_FALSE(popped.item.has_value());
}

TEST(BoundedQueue, ClosingKeepsWhatIsInside) {
  BoundedQueue<int> queue(10);
  ASSERT_EQ(queue.push(1, 1, now()), QueueStatus::kOk);
  queue.close();
  queue.close();
  EXPECT_EQ(queue.push(2, 1, now()), QueueStatus::kClosed);
  EXPECT_EQ(queue.pop(now()).item, 1);
  EXPECT_EQ(queue.pop(now()).status, QueueStatus::kClosed);
}

TEST(BoundedQueue, DiscardingDropsWhatIsInside) {
  BoundedQueue<std::shared_ptr<int>> queue(10);
  auto item = std::make_shared<int>(1);
  ASSERT_EQ(queue.push(std::shared_ptr<int>(item), 1, now()), QueueStatus::kOk);
  queue.close_and_discard();
  EXPECT_EQ(item.use_count(), 1);
  EXPECT_EQ(queue.pop(now()).status, QueueStatus::kClosed);
}

// With a deadline minutes away, a wake-up that gets lost shows as a test that hangs until it.
TEST(BoundedQueue, ClosingWakesEveryWaiter) {
  BoundedQueue<int> full(1), empty(1);
  ASSERT_EQ(full.push(0, 1, now()), QueueStatus::kOk);
  std::atomic<int> closed = 0;
  std::vector<Thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back("push", [&] { closed += full.push(1, 1, far()) == QueueStatus::kClosed; });
    waiters.emplace_back("pop", [&] { closed += empty.pop(far()).status == QueueStatus::kClosed; });
  }
  full.close();
  empty.close();
  waiters.clear();
  EXPECT_EQ(closed, 8);
}

TEST(BoundedQueue, ManyThreadsLoseAndDoubleNothing) {
  constexpr int kThreads = 4, kItems = 2'000;
  BoundedQueue<int> queue(16);
  std::atomic<long> sum = 0, count = 0;
  std::vector<Thread> consumers, producers;
  for (int t = 0; t < kThreads; ++t) {
    consumers.emplace_back("pop", [&] {
      while (auto item = queue.pop(far()).item) {
        sum += *item;
        ++count;
      }
    });
    producers.emplace_back("push", [&, t] {
      for (int i = 0; i < kItems; ++i) {
        const int value = t * kItems + i;
        if (queue.push(int(value), static_cast<std::size_t>(1 + value % 7), far()) !=
            QueueStatus::kOk)
          return;
      }
    });
  }
  producers.clear();
  queue.close();
  consumers.clear();
  constexpr long kTotal = kThreads * kItems;
  EXPECT_EQ(count, kTotal);
  EXPECT_EQ(sum, kTotal * (kTotal - 1) / 2);
}

}  // namespace
}  // namespace musher

#include "serving/batching/batch_queue.h"

#include <memory>

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using std::chrono::microseconds;
using Queue = BatchQueue<int>;
using Ints = std::vector<int>;

constexpr Queue::Time kStart{};
constexpr Queue::Time kNever = Queue::Time::max();

Queue::Time at(int us) {
  return kStart + microseconds(us);
}

Queue queue_of(std::size_t max, int delay_us, std::vector<std::size_t> preferred = {},
               std::size_t max_queued = 100) {
  const BatchingOptions options = {.max_batch_size = max,
                                   .max_batch_delay = microseconds(delay_us),
                                   .preferred_sizes = std::move(preferred),
                                   .max_queued = max_queued};
  check(options);
  return Queue(options);
}

void push(Queue& queue, int from, int to, int us) {
  for (int i = from; i <= to; ++i) EXPECT_TRUE(queue.push(int{i}, at(us), kNever).has_value());
}

TEST(BatchQueue, WaitsForOthersUntilTheDelayIsOver) {
  Queue queue = queue_of(4, 100);
  EXPECT_FALSE(queue.next_batch().has_value());
  EXPECT_EQ(queue.take_batch(at(0)), Ints{});
  push(queue, 1, 1, 0);
  push(queue, 2, 2, 90);
  EXPECT_EQ(queue.next_batch(), at(100));
  EXPECT_EQ(queue.take_batch(at(99)), Ints{});
  EXPECT_EQ(queue.take_batch(at(100)), (Ints{1, 2}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(BatchQueue, AFullBatchDoesNotWaitAndTheRestDoes) {
  Queue queue = queue_of(4, 100);
  push(queue, 1, 6, 0);
  EXPECT_LE(queue.next_batch(), at(0));
  EXPECT_EQ(queue.take_batch(at(0)), (Ints{1, 2, 3, 4}));
  EXPECT_EQ(queue.take_batch(at(0)), Ints{});
  EXPECT_EQ(queue.take_batch(at(100)), (Ints{5, 6}));
}

TEST(BatchQueue, APreferredSizeDoesNotWaitEither) {
  Queue queue = queue_of(16, 100, {4, 8});
  push(queue, 1, 3, 0);
  EXPECT_FALSE(queue.has_batch(at(0)));
  EXPECT_EQ(queue.take_batch(at(0)), Ints{});
  push(queue, 4, 5, 0);
  EXPECT_TRUE(queue.has_batch(at(0)));
  EXPECT_LE(queue.next_batch(), at(0));
  EXPECT_EQ(queue.take_batch(at(0)), (Ints{1, 2, 3, 4}));
  push(queue, 6, 15, 10);
  EXPECT_EQ(queue.take_batch(at(20)).size(), 8u);
  // What has waited out its delay goes with all that is there, preferred or not.
  push(queue, 16, 17, 30);
  EXPECT_EQ(queue.take_batch(at(110)), (Ints{13, 14, 15, 16, 17}));
}

TEST(BatchQueue, WithoutADelayRunsWhatIsThere) {
  Queue queue = queue_of(4, 0);
  push(queue, 1, 3, 0);
  EXPECT_EQ(queue.take_batch(at(0)), (Ints{1, 2, 3}));
}

TEST(BatchQueue, AFullQueueTakesNothingAndLeavesTheItem) {
  BatchQueue<std::unique_ptr<int>> queue({.max_batch_size = 1,
                                          .max_batch_delay = microseconds(0),
                                          .preferred_sizes = {},
                                          .max_queued = 1});
  EXPECT_TRUE(queue.push(std::make_unique<int>(1), at(0), kNever).has_value());
  auto item = std::make_unique<int>(2);
  EXPECT_FALSE(queue.push(std::move(item), at(0), kNever).has_value());
  EXPECT_NE(item, nullptr);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(queue.take_batch(at(0)).size(), 1u);
  EXPECT_TRUE(queue.push(std::move(item), at(0), kNever).has_value());
}

TEST(BatchQueue, ACancelledRequestLeavesItsPlaceToOthers) {
  Queue queue = queue_of(4, 100);
  const auto first = queue.push(1, at(0), kNever);
  push(queue, 2, 4, 50);
  EXPECT_EQ(queue.remove(*first), 1);
  EXPECT_EQ(queue.remove(*first), std::nullopt);
  EXPECT_EQ(queue.next_batch(), at(150));
  EXPECT_EQ(queue.take_batch(at(100)), Ints{});
  EXPECT_EQ(queue.take_batch(at(150)), (Ints{2, 3, 4}));
}

TEST(BatchQueue, ARequestWhoseDeadlinePassedDoesNotRun) {
  Queue queue = queue_of(4, 100);
  queue.push(1, at(0), at(200));
  queue.push(2, at(0), at(80));
  queue.push(3, at(0), at(90));
  EXPECT_EQ(queue.next_expiry(), at(80));
  EXPECT_EQ(queue.take_expired(at(79)), Ints{});
  EXPECT_EQ(queue.take_expired(at(90)), (Ints{2, 3}));
  EXPECT_EQ(queue.next_expiry(), at(200));
  queue.push(4, at(0), at(150));  // after those that were sent away
  EXPECT_EQ(queue.take_expired(at(150)), Ints{4});
  EXPECT_EQ(queue.take_batch(at(100)), Ints{1});
}

TEST(BatchQueue, InAHurryGivesWhateverIsThere) {
  Queue queue = queue_of(4, 100);
  push(queue, 1, 5, 0);
  EXPECT_EQ(queue.take_batch(at(0), true), (Ints{1, 2, 3, 4}));
  EXPECT_EQ(queue.take_batch(at(0), true), Ints{5});
  EXPECT_EQ(queue.take_batch(at(0), true), Ints{});
}

TEST(BatchingOptions, ImpossibleOnesAreNamed) {
  const auto refused = [](const char* part, BatchingOptions options) {
    test::expect_error(ErrorCode::kInvalidArgument, {part}, [&] { check(options); });
  };
  BatchingOptions options;
  options.max_batch_size = 0;
  refused("max_batch_size", options);
  options = {};
  options.max_queued = 31;
  refused("max_queued", options);
  options = {};
  options.max_batch_delay = microseconds(-1);
  refused("max_batch_delay", options);
  for (const auto& sizes : std::vector<std::vector<std::size_t>>{{0, 4}, {4, 4}, {8, 4}, {33}}) {
    options = {};
    options.preferred_sizes = sizes;
    refused("preferred_sizes", options);
  }
}

}  // namespace
}  // namespace musher

#include "serving/function/event_queue.h"

#include <utility>

#include <gtest/gtest.h>

namespace musher {
namespace {

using namespace std::chrono_literals;

const EventQueue::Time kStart{1'000h};

FunctionEvent event(const std::string& id, EventQueue::Time accepted = kStart,
                    const std::string& payload = "{}") {
  return {.request_id = id,
          .function_arn = "",
          .payload = payload,
          .accepted = accepted,
          .due = accepted};
}

bool add(EventQueue& queue, FunctionEvent given) {
  if (!queue.take_place(given)) return false;
  queue.add(std::move(given));
  return true;
}

TEST(EventQueue, GivesEventsInTheirOrder) {
  EventQueue queue({});
  EXPECT_FALSE(queue.next());
  ASSERT_TRUE(add(queue, event("first", kStart)));
  ASSERT_TRUE(add(queue, event("second", kStart + 1s)));
  EXPECT_EQ(queue.next(), kStart);
  EXPECT_FALSE(queue.take(kStart - 1s));
  EXPECT_EQ(queue.take(kStart + 1s)->request_id, "first");
  EXPECT_EQ(queue.take(kStart + 1s)->request_id, "second");
  EXPECT_FALSE(queue.take(kStart + 1h));
}

TEST(EventQueue, TriesAgainTwiceAfterOneMinuteAndTwo) {
  EventQueue queue({});
  add(queue, event("a"));
  auto taken = queue.take(kStart);
  EXPECT_EQ(taken->executions, 1);
  EXPECT_EQ(queue.retry(*taken, kStart + 5s), 60s);
  EXPECT_FALSE(queue.take(kStart + 64s));
  taken = queue.take(kStart + 65s);
  EXPECT_EQ(taken->executions, 2);
  EXPECT_EQ(queue.retry(*taken, kStart + 65s), 120s);
  taken = queue.take(kStart + 185s);
  EXPECT_EQ(taken->executions, 3);
  EXPECT_FALSE(queue.retry(*taken, kStart + 185s));
  EXPECT_EQ(queue.size(), 0U);
}

TEST(EventQueue, GivesUpWhatIsTooOld) {
  EventQueue queue({.max_age = 100s});
  add(queue, event("a"));
  const auto taken = queue.take(kStart);
  EXPECT_FALSE(queue.too_old(*taken, kStart + 100s));
  EXPECT_TRUE(queue.too_old(*taken, kStart + 101s));
  EXPECT_FALSE(queue.retry(*taken, kStart + 41s)) << "its next turn would be too late";
  EXPECT_EQ(queue.retry(*taken, kStart + 40s), 60s);
}

TEST(EventQueue, IsBounded) {
  EventQueue few({.max_events = 1});
  EXPECT_TRUE(add(few, event("a")));
  EXPECT_FALSE(add(few, event("b")));
  few.take(kStart);
  EXPECT_TRUE(add(few, event("b")));

  EventQueue small({.max_bytes = 10});
  EXPECT_TRUE(add(small, event("a", kStart, "123456")));
  EXPECT_FALSE(add(small, event("b", kStart, "12345")));
  EXPECT_EQ(small.clear().size(), 1U);
  EXPECT_TRUE(add(small, event("b", kStart, "1234567890")));
}

TEST(EventQueue, APlaceIsTakenBeforeTheEventIsThere) {
  EventQueue queue({.max_events = 1});
  ASSERT_TRUE(queue.take_place(event("a")));
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_FALSE(queue.take_place(event("b")));
  queue.leave_place(event("a"));
  EXPECT_TRUE(add(queue, event("b")));
}

TEST(EventQueue, GoesOnWithTheEventsOfTheProcessBefore) {
  EventQueue queue({.max_events = 1});
  FunctionEvent tried = event("tried");
  tried.executions = 2;
  tried.due = kStart + 10s;
  queue.restore(tried);
  queue.restore(event("new", kStart + 1s));
  EXPECT_FALSE(add(queue, event("another"))) << "what was accepted counts";
  EXPECT_EQ(queue.take(kStart + 9s)->request_id, "new");
  EXPECT_FALSE(queue.take(kStart + 9s));
  const auto taken = queue.take(kStart + 10s);
  EXPECT_EQ(taken->executions, 3);
  EXPECT_FALSE(queue.retry(*taken, kStart + 10s)) << "its executions before count";
}

}  // namespace
}  // namespace musher

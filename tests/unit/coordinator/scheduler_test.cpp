#include "coordinator/scheduler.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"

namespace musher {

void PrintTo(const HostSlots& slots, std::ostream* out) {
  *out << slots.host << ":" << slots.slots;
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> started(const Schedule& schedule) {
  std::vector<std::string> names;
  for (const Start& start : schedule.starts) names.push_back(start.name);
  return names;
}

TEST(Scheduler, AnIdleClusterStartsWhatFitsInTheOrderOfTheQueue) {
  const Schedule result = schedule({{"a", 1}, {"b", 2}, {"c", 1}}, {}, {{"h1", 2}, {"h2", 2}});
  EXPECT_THAT(started(result), ElementsAre("a", "b", "c"));
  EXPECT_THAT(result.waiting, IsEmpty());
}

TEST(Scheduler, AJobStartsWithAllItsRanksOrNotAtAll) {
  const Schedule result = schedule({{"a", 4}}, {{"x", {{"h1", 1}}}}, {{"h1", 2}, {"h2", 2}});
  EXPECT_THAT(result.starts, IsEmpty());
  EXPECT_THAT(result.waiting, ElementsAre("a"));
}

TEST(Scheduler, SmallJobsDoNotOvertakeALargeOneAndStarveIt) {
  const Schedule result = schedule({{"large", 4}, {"small", 1}}, {{"x", {{"h1", 1}}}}, {{"h1", 4}});
  EXPECT_THAT(result.starts, IsEmpty());
  EXPECT_THAT(result.waiting, ElementsAre("large", "small"));
}

TEST(Scheduler, AJobThatCanNeverRunHoldsNobodyUp) {
  const Schedule result = schedule({{"giant", 5}, {"small", 1}}, {}, {{"h1", 4}});
  EXPECT_THAT(started(result), ElementsAre("small"));
  EXPECT_THAT(result.waiting, ElementsAre("giant"));
  EXPECT_THAT(result.too_large, ElementsAre("giant"));
}

TEST(Scheduler, OneHostIsBetterThanTwoAndTheFullestBest) {
  const Schedule result =
      schedule({{"a", 2}}, {{"x", {{"h1", 1}}}}, {{"h1", 2}, {"h2", 4}, {"h3", 2}});
  ASSERT_EQ(result.starts.size(), 1);
  EXPECT_THAT(result.starts[0].placement, ElementsAre(HostSlots{"h3", 2}));
}

TEST(Scheduler, AJobThatFitsNoHostTakesAsFewAsPossible) {
  const Schedule result = schedule({{"a", 5}}, {}, {{"h1", 1}, {"h2", 3}, {"h3", 2}});
  ASSERT_EQ(result.starts.size(), 1);
  EXPECT_THAT(result.starts[0].placement, ElementsAre(HostSlots{"h2", 3}, HostSlots{"h3", 2}));
}

TEST(Scheduler, SlotsOnAHostThatLeftAreNotGivenAway) {
  const Schedule result = schedule({{"a", 1}}, {{"x", {{"gone", 8}}}}, {{"h1", 1}});
  EXPECT_THAT(started(result), ElementsAre("a"));
}

TEST(Scheduler, AHostThatShrankBelowItsJobsHasNoRoom) {
  const Schedule result = schedule({{"a", 2}}, {{"x", {{"h1", 4}}}}, {{"h1", 2}, {"h2", 1}});
  EXPECT_THAT(result.starts, IsEmpty());
  EXPECT_THAT(result.too_large, IsEmpty());
}

TEST(Scheduler, NoHostsMeansEverythingWaits) {
  EXPECT_THAT(schedule({{"a", 1}}, {}, {}).waiting, ElementsAre("a"));
}

TEST(Scheduler, NeverGivesASlotTwiceOnRandomClusters) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    Random random{seed};
    std::vector<HostSlots> hosts;
    for (std::uint64_t i = 0; i < 1 + random.below(5); ++i) {
      hosts.push_back({"h" + std::to_string(i), static_cast<int>(random.below(5))});
    }
    std::vector<QueuedJob> queue;
    for (std::uint64_t i = 0; i < random.below(8); ++i) {
      queue.push_back({"j" + std::to_string(i), 1 + static_cast<int>(random.below(6))});
    }
    const Schedule result = schedule(queue, {}, hosts);
    std::map<std::string, int> used;
    for (const Start& start : result.starts) {
      int ranks = 0;
      for (const HostSlots& slots : start.placement) {
        EXPECT_GT(slots.slots, 0);
        used[slots.host] += slots.slots;
        ranks += slots.slots;
      }
      EXPECT_EQ(ranks, queue[std::stoi(start.name.substr(1))].ranks) << seed;
    }
    for (const HostSlots& host : hosts) EXPECT_LE(used[host.host], host.slots) << seed;
    EXPECT_EQ(result.starts.size() + result.waiting.size(), queue.size()) << seed;
  }
}

std::vector<std::string> ordered(const std::vector<QueuedJob>& queue,
                                 const std::vector<RunningJob>& running = {}) {
  std::vector<std::string> names;
  for (const std::size_t i : queue_order(queue, running)) names.push_back(queue[i].name);
  return names;
}

TEST(QueueOrder, PrioritiesFirstThenTurnsOfTheSubmittersThenSubmission) {
  EXPECT_THAT(ordered({{"a1", 1, "a"}, {"a2", 1, "a"}, {"a3", 1, "a"}, {"b1", 1, "b"}}),
              ElementsAre("a1", "b1", "a2", "a3"));
  EXPECT_THAT(ordered({{"low", 1, "a", -1}, {"a", 1, "a"}, {"high", 1, "a", 5}, {"b", 1, "b"}}),
              ElementsAre("high", "b", "a", "low"));
}

TEST(QueueOrder, SlotsThatASubmitterHoldsCount) {
  const std::vector<RunningJob> running = {{"x", {{"h", 3}}, "a"}};
  EXPECT_THAT(ordered({{"a1", 1, "a"}, {"b1", 2, "b"}, {"b2", 2, "b"}, {"b3", 1, "b"}}, running),
              ElementsAre("b1", "b2", "a1", "b3"));
}

TEST(QueueOrder, AJobThatIsToGoOnIsBeforeItsSubmittersOthers) {
  QueuedJob interrupted{"old", 1, "a"};
  interrupted.began = true;
  EXPECT_THAT(ordered({{"new", 1, "a"}, {"b", 1, "b"}, interrupted}),
              ElementsAre("b", "old", "new"));
}

TEST(QueueOrder, WhoHasWaitedForTooLongIsBeforeAll) {
  QueuedJob late{"late", 1, "a", -100, std::chrono::hours(25)};
  QueuedJob later{"later", 1, "a", 100, std::chrono::hours(24)};
  EXPECT_THAT(ordered({late, later, {"high", 1, "b", 100}}), ElementsAre("late", "later", "high"));
}

using std::chrono::minutes;

QueuedJob queued(const std::string& name, int ranks, minutes limit) {
  QueuedJob job{name, ranks};
  job.limit = limit;
  return job;
}

RunningJob runs(const std::string& name, int slots, minutes ends_in) {
  return {name, {{"h", slots}}, "", ends_in};
}

TEST(Backfill, WhatIsGoneBeforeTheHeadsTurnOrLeavesItsSlotsOvertakes) {
  // 4 slots, one is free; the head has its 3 in an hour, and one is left over then.
  const std::vector<RunningJob> running = {runs("x", 3, minutes(60))};
  const std::vector<HostSlots> hosts = {{"h", 4}};
  const auto overtakes = [&](int head, const QueuedJob& job) {
    const Schedule result = schedule({queued("head", head, minutes(600)), job}, running, hosts);
    EXPECT_EQ(result.head_starts_in, minutes(60));
    return !result.starts.empty() && result.starts[0].backfilled;
  };
  EXPECT_TRUE(overtakes(4, queued("short", 1, minutes(60))));
  EXPECT_FALSE(overtakes(4, queued("long", 1, minutes(61))));
  EXPECT_FALSE(overtakes(4, {"unlimited", 1}));
  EXPECT_TRUE(overtakes(3, queued("beside", 1, minutes(600))));
  EXPECT_TRUE(overtakes(3, {"beside", 1}));
  EXPECT_FALSE(overtakes(3, queued("large", 2, minutes(1)))) << "one is free";
}

TEST(Backfill, TheSlotsThatAreLeftOverAreGivenOnce) {
  const std::vector<RunningJob> running = {runs("x", 2, minutes(60))};
  const Schedule result = schedule(
      {queued("head", 3, minutes(1)), {"one", 1}, {"two", 1}, queued("three", 1, minutes(5))},
      running, {{"h", 4}});
  EXPECT_THAT(started(result), ElementsAre("one", "three"));
  EXPECT_THAT(result.waiting, ElementsAre("head", "two"));
}

TEST(Backfill, WhereAnEndCannotBeToldNobodyOvertakes) {
  const Schedule result = schedule({queued("head", 4, minutes(1)), queued("s", 1, minutes(1))},
                                   {{"x", {{"h", 3}}}}, {{"h", 4}});
  EXPECT_THAT(result.starts, IsEmpty());
  EXPECT_FALSE(result.head_starts_in);
}

TEST(Resize, GrowsOnItsOwnHostsFirstAndByNoneWhereTooFewAreFree) {
  const std::vector<HostSlots> hosts = {{"h1", 4}, {"h2", 4}};
  const std::vector<HostSlots> own = {{"h2", 2}};
  const std::vector<RunningJob> running = {{"a", own}, {"b", {{"h1", 1}}}};
  EXPECT_EQ(free_slots(running, hosts), 5);
  EXPECT_THAT(*grown(own, 2, running, hosts), ElementsAre(HostSlots{"h2", 4}));
  EXPECT_THAT(*grown(own, 3, running, hosts), ElementsAre(HostSlots{"h2", 4}, HostSlots{"h1", 1}));
  EXPECT_THAT(*grown(own, 5, running, hosts), ElementsAre(HostSlots{"h2", 4}, HostSlots{"h1", 3}));
  EXPECT_FALSE(grown(own, 6, running, hosts));
  EXPECT_EQ(*grown(own, 0, running, hosts), own);
  EXPECT_EQ(*grown(own, -1, running, hosts), own);
}

TEST(Resize, SlotsOfAHostThatHasLeftAreNobodysToGive) {
  const std::vector<HostSlots> own = {{"gone", 2}};
  EXPECT_FALSE(grown(own, 1, {{"a", own}}, {{"h1", 0}}));
  EXPECT_THAT(*grown(own, 1, {{"a", own}}, {{"h1", 1}}),
              ElementsAre(HostSlots{"gone", 2}, HostSlots{"h1", 1}));
}

TEST(Resize, ShrinksFromTheLastHostOn) {
  const std::vector<HostSlots> own = {{"h2", 4}, {"h1", 3}};
  EXPECT_THAT(shrunk(own, 5), ElementsAre(HostSlots{"h2", 4}, HostSlots{"h1", 1}));
  EXPECT_THAT(shrunk(own, 4), ElementsAre(HostSlots{"h2", 4}));
  EXPECT_THAT(shrunk(own, 1), ElementsAre(HostSlots{"h2", 1}));
  EXPECT_EQ(shrunk(own, 7), own);
  EXPECT_EQ(shrunk(own, 9), own);
}

TEST(Placement, HostsWhoseSlotsNoRankHoldsGiveThemBackFirst) {
  const std::vector<HostSlots> own = {{"h1", 2}, {"h2", 2}, {"h3", 1}};
  EXPECT_THAT(shrunk(own, 4, {{"h1", 2}, {"h2", 1}, {"h3", 1}}),
              ElementsAre(HostSlots{"h1", 2}, HostSlots{"h2", 1}, HostSlots{"h3", 1}));
  EXPECT_THAT(shrunk(own, 2, {{"h2", 1}, {"h3", 1}}),
              ElementsAre(HostSlots{"h2", 1}, HostSlots{"h3", 1}));
  EXPECT_THAT(shrunk(own, 4, {{"h3", 1}}),
              ElementsAre(HostSlots{"h1", 2}, HostSlots{"h2", 1}, HostSlots{"h3", 1}));
  EXPECT_THAT(shrunk(own, 1, {{"h1", 2}, {"h2", 2}, {"h3", 1}}), ElementsAre(HostSlots{"h1", 1}))
      << "ranks that are about to leave";
  EXPECT_EQ(shrunk(own, 5, {{"h1", 9}}), own);
}

}  // namespace
}  // namespace musher

#include "coordinator/membership.h"

#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

AttemptMembership attempt_of(int ranks, int virtual_workers) {
  return {.attempt = 2,
          .token = "secret",
          .world_size = ranks,
          .virtual_workers = virtual_workers,
          .joined = {},
          .generation = {}};
}

Caller caller(int rank, std::uint64_t generation = 0) {
  return {2, generation, rank, "secret"};
}
Member member(int rank) {
  return {rank, "host", 100 + rank};
}

AttemptMembership formed(int ranks, std::uint64_t number) {
  AttemptMembership membership = attempt_of(ranks, 8);
  for (int rank = 0; rank < ranks; ++rank) join(membership, caller(rank), ranks, member(rank));
  membership.generation = form_generation(membership, number);
  return membership;
}

TEST(VirtualWorkerMap, IsContiguousNearEqualAndComplete) {
  EXPECT_THAT(map_virtual_workers(8, {0, 1, 2}), ElementsAre(0, 0, 0, 1, 1, 1, 2, 2));
  EXPECT_THAT(map_virtual_workers(4, {0, 2, 5, 7}), ElementsAre(0, 2, 5, 7));
  EXPECT_THAT(map_virtual_workers(3, {4}), ElementsAre(4, 4, 4));
  for (int v = 1; v <= 40; ++v) {
    for (int n = 1; n <= v; ++n) {
      std::vector<int> ranks(n);
      std::iota(ranks.begin(), ranks.end(), 0);
      const std::vector<int> map = map_virtual_workers(v, ranks);
      ASSERT_EQ(static_cast<int>(map.size()), v);
      EXPECT_TRUE(std::is_sorted(map.begin(), map.end()));
      for (int rank : ranks) {
        const auto share = std::count(map.begin(), map.end(), rank);
        EXPECT_TRUE(share == v / n || share == (v + n - 1) / n) << v << " on " << n;
      }
    }
  }
}

TEST(Generation, KnowsWhoHasWhichVirtualWorkers) {
  const Generation generation = *formed(3, 1).generation;
  EXPECT_THAT(virtual_workers_of(generation, 1), ElementsAre(3, 4, 5));
  EXPECT_THAT(virtual_workers_of(generation, 3), IsEmpty());
}

TEST(Join, TheLastRankCompletesInAnyOrder) {
  AttemptMembership membership = attempt_of(3, 8);
  EXPECT_EQ(join(membership, caller(2), 3, member(2)), JoinResult::kWaiting);
  EXPECT_EQ(join(membership, caller(0), 3, member(0)), JoinResult::kWaiting);
  EXPECT_EQ(join(membership, caller(1), 3, member(1)), JoinResult::kComplete);
  const Generation generation = form_generation(membership, 7);
  EXPECT_EQ(generation.number, 7);
  EXPECT_EQ(generation.attempt, 2);
  EXPECT_THAT(generation.members, ElementsAre(member(0), member(1), member(2)));
}

TEST(Join, ARankThatAsksAgainIsNotTakenForAnother) {
  AttemptMembership membership = attempt_of(2, 8);
  EXPECT_EQ(join(membership, caller(0), 2, member(0)), JoinResult::kWaiting);
  EXPECT_EQ(join(membership, caller(0), 2, member(0)), JoinResult::kWaiting);
  membership = formed(2, 1);
  EXPECT_EQ(join(membership, caller(0), 2, member(0)), JoinResult::kMember);
}

TEST(Join, RefusesWhoDoesNotBelong) {
  struct Case {
    Caller caller;
    int world_size;
    Member member;
    JoinResult expected;
  };
  const std::vector<Case> cases = {
      {{1, 0, 1, "secret"}, 2, member(1), JoinResult::kOldAttempt},
      {{3, 0, 1, "secret"}, 2, member(1), JoinResult::kFutureAttempt},
      {{2, 0, 1, "guess"}, 2, member(1), JoinResult::kWrongToken},
      {{2, 0, 1, ""}, 2, member(1), JoinResult::kWrongToken},
      {caller(1), 3, member(1), JoinResult::kWrongWorldSize},
      {caller(2), 2, member(2), JoinResult::kNoSuchRank},
      {caller(-1), 2, member(-1), JoinResult::kNoSuchRank},
      {caller(0), 2, {0, "host", 999}, JoinResult::kRankTaken},
      {caller(0), 2, {0, "elsewhere", 100}, JoinResult::kRankTaken},
  };
  for (const Case& c : cases) {
    AttemptMembership membership = attempt_of(2, 8);
    join(membership, caller(0), 2, member(0));
    EXPECT_EQ(join(membership, c.caller, c.world_size, c.member), c.expected)
        << to_string(c.expected);
    EXPECT_EQ(membership.joined.size(), 1) << to_string(c.expected);
  }
}

TEST(Standing, ToldByTypeAndNeverBySilence) {
  const AttemptMembership now = formed(2, 5);
  EXPECT_EQ(standing(now, {2, 5, 1, "secret"}), Standing::kCurrent);
  EXPECT_EQ(standing(std::nullopt, {2, 5, 1, "secret"}), Standing::kNothingRuns);
  EXPECT_EQ(standing(now, {1, 5, 1, "secret"}), Standing::kOldAttempt);
  EXPECT_EQ(standing(now, {3, 5, 1, "secret"}), Standing::kFutureAttempt);
  EXPECT_EQ(standing(now, {2, 5, 1, "other"}), Standing::kWrongToken);
  EXPECT_EQ(standing(now, {2, 4, 1, "secret"}), Standing::kOldGeneration);
  EXPECT_EQ(standing(now, {2, 0, 1, "secret"}), Standing::kOldGeneration);
  EXPECT_EQ(standing(now, {2, 6, 1, "secret"}), Standing::kFutureAttempt);
  EXPECT_EQ(standing(now, {2, 5, 2, "secret"}), Standing::kNotAMember);
}

TEST(Standing, NobodyActsBeforeTheGenerationIsFormed) {
  AttemptMembership joining = attempt_of(2, 8);
  join(joining, caller(0), 2, member(0));
  EXPECT_NE(standing(joining, caller(0)), Standing::kCurrent);
  EXPECT_NE(standing(joining, caller(0, 1)), Standing::kCurrent);
}

}  // namespace
}  // namespace musher

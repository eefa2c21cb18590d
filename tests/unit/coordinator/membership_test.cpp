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
  return {.attempt = 2, .token = "secret", .world_size = ranks, .virtual_workers = virtual_workers};
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
  EXPECT_EQ(standing(now, {2, 4, 2, "secret"}), Standing::kOldGeneration);
  EXPECT_EQ(standing(now, {2, 0, 1, "secret"}), Standing::kOldGeneration);
  EXPECT_EQ(standing(now, {2, 6, 1, "secret"}), Standing::kFutureAttempt);
  EXPECT_EQ(standing(now, {2, 5, 2, "secret"}), Standing::kNotAMember);
}

TEST(Standing, AMemberThatKnowsAnEarlierGenerationYetIsNoStrangerAndWhoWasLeftOutIs) {
  AttemptMembership now = formed(3, 5);
  adopt(now, regroup(now, caller(0, 5), {0, 2}).generation);
  EXPECT_EQ(standing(now, caller(0, 6)), Standing::kCurrent);
  EXPECT_EQ(standing(now, caller(2, 5)), Standing::kCatchingUp);
  EXPECT_EQ(standing(now, caller(1, 5)), Standing::kOldGeneration);
  EXPECT_EQ(standing(now, caller(1, 6)), Standing::kNotAMember);
  EXPECT_EQ(standing(now, caller(2, 7)), Standing::kFutureAttempt);
}

TEST(Standing, NobodyActsBeforeTheGenerationIsFormed) {
  AttemptMembership joining = attempt_of(2, 8);
  join(joining, caller(0), 2, member(0));
  EXPECT_NE(standing(joining, caller(0)), Standing::kCurrent);
  EXPECT_NE(standing(joining, caller(0, 1)), Standing::kCurrent);
}

std::vector<int> ranks_of(const Generation& generation) {
  std::vector<int> ranks;
  for (const Member& one : generation.members) ranks.push_back(one.rank);
  return ranks;
}

/// `formed(ranks)` with a newcomer of this rank that has joined.
AttemptMembership with_newcomer(int ranks, int newcomer) {
  AttemptMembership membership = formed(ranks, 5);
  membership.awaited = {newcomer};
  EXPECT_EQ(join_newcomer(membership, caller(newcomer), member(newcomer)), JoinResult::kNewcomer);
  return membership;
}

TEST(Regroup, TheSurvivorsGetTheVirtualWorkersOfTheDead) {
  const AttemptMembership before = formed(4, 5);
  const Regrouping answer = regroup(before, caller(1, 5), {1, 3});
  ASSERT_EQ(answer.result, RegroupResult::kNew) << answer.refusal;
  EXPECT_EQ(answer.generation.number, 6);
  EXPECT_EQ(answer.generation.attempt, 2);
  EXPECT_THAT(ranks_of(answer.generation), ElementsAre(1, 3));
  EXPECT_THAT(answer.generation.virtual_worker_rank, ElementsAre(1, 1, 1, 1, 3, 3, 3, 3));
  EXPECT_THAT(answer.missing, ElementsAre(0, 2));
  EXPECT_THAT(answer.added, IsEmpty());
  EXPECT_EQ(leader_of(answer.generation), 1) << "the leader's death makes the next one speak";
}

TEST(Regroup, DownToOne) {
  AttemptMembership now = formed(3, 5);
  adopt(now, regroup(now, caller(0, 5), {0, 2}).generation);
  adopt(now, regroup(now, caller(2, 6), {2}).generation);
  EXPECT_EQ(now.generation->number, 7);
  EXPECT_THAT(virtual_workers_of(*now.generation, 2), testing::SizeIs(8));
}

TEST(Regroup, AnAnswerThatWasLostIsGivenAgainAndNothingIsNew) {
  AttemptMembership now = formed(3, 5);
  adopt(now, regroup(now, caller(0, 5), {0, 2}).generation);
  const Regrouping again = regroup(now, caller(0, 5), {0, 2});
  EXPECT_EQ(again.result, RegroupResult::kRepeated);
  EXPECT_EQ(again.generation, *now.generation);
}

TEST(Regroup, TheSameMembersInTheirOwnGenerationAreANewOne) {
  const AttemptMembership now = formed(2, 5);
  const Regrouping answer = regroup(now, caller(0, 5), {0, 1});
  EXPECT_EQ(answer.result, RegroupResult::kNew) << "a collective hung";
  EXPECT_EQ(answer.generation.number, 6);
}

TEST(Regroup, ALeaderThatDiedBeforeItToldTheOthersIsFollowedByTheNext) {
  AttemptMembership now = formed(4, 5);
  adopt(now, regroup(now, caller(0, 5), {0, 1, 2}).generation);  // 3 died; then 0 with the answer
  const Regrouping answer = regroup(now, caller(1, 5), {1, 2});
  ASSERT_EQ(answer.result, RegroupResult::kNew) << answer.refusal;
  EXPECT_EQ(answer.generation.number, 7);
  EXPECT_THAT(answer.missing, ElementsAre(0));
}

TEST(Regroup, ANewcomerThatJoinedBecomesAMember) {
  AttemptMembership now = with_newcomer(2, 2);
  EXPECT_EQ(standing(now, caller(2, 5)), Standing::kNewcomer);
  const Regrouping answer = regroup(now, caller(0, 5), {0, 1, 2});
  ASSERT_EQ(answer.result, RegroupResult::kNew) << answer.refusal;
  EXPECT_THAT(answer.added, ElementsAre(2));
  EXPECT_THAT(answer.missing, IsEmpty());
  adopt(now, answer.generation);
  EXPECT_THAT(now.newcomers, IsEmpty());
  EXPECT_EQ(standing(now, caller(2, 5)), Standing::kCatchingUp);
  EXPECT_EQ(standing(now, caller(2, 6)), Standing::kCurrent);
  EXPECT_EQ(now.generation->members.back(), member(2));
}

TEST(Regroup, ANewcomerThatDiedAfterTheMembersTookItInIsNoReasonToRefuseThem) {
  AttemptMembership now = with_newcomer(2, 2);
  now.given_up.insert(now.newcomers.extract(2));
  EXPECT_EQ(standing(now, caller(2, 5)), Standing::kNotAMember)
      << "it does not come back by itself";
  const Regrouping answer = regroup(now, caller(0, 5), {0, 1, 2});
  ASSERT_EQ(answer.result, RegroupResult::kNew) << answer.refusal;
  EXPECT_THAT(answer.added, ElementsAre(2));
  adopt(now, answer.generation);
  EXPECT_THAT(now.given_up, IsEmpty());
}

TEST(Regroup, ANewcomerWaitsThroughARegroupingWithoutIt) {
  AttemptMembership now = with_newcomer(3, 3);
  adopt(now, regroup(now, caller(0, 5), {0, 2}).generation);
  EXPECT_EQ(standing(now, caller(3, 5)), Standing::kNewcomer);
  EXPECT_EQ(regroup(now, caller(0, 6), {0, 2, 3}).result, RegroupResult::kNew);
}

TEST(Regroup, RefusesWhoDoesNotBelong) {
  AttemptMembership now = with_newcomer(4, 4);
  now.awaited = {5};
  adopt(now, regroup(now, caller(0, 5), {0, 2, 3}).generation);
  struct Case {
    Caller caller;
    std::vector<int> members;
    RegroupResult expected;
  };
  const std::vector<Case> cases = {
      {{2, 6, 0, "guess"}, {0, 2}, RegroupResult::kStale},
      {{1, 6, 0, "secret"}, {0, 2}, RegroupResult::kStale},
      {{3, 6, 0, "secret"}, {0, 2}, RegroupResult::kStale},
      {caller(0, 7), {0, 2}, RegroupResult::kStale},        // of a generation that never was
      {caller(1, 5), {1}, RegroupResult::kStale},           // was left out: it never comes back
      {caller(4, 5), {4}, RegroupResult::kStale},           // is no member yet
      {caller(0, 6), {0, 1, 2}, RegroupResult::kStranger},  // names one that was left out
      {caller(0, 6), {0, 2, 5}, RegroupResult::kStranger},  // a newcomer that has not joined
      {caller(0, 6), {0, 2, 9}, RegroupResult::kStranger},
      {caller(2, 6), {0, 2}, RegroupResult::kNotTheLowest},
      {caller(3, 6), {2}, RegroupResult::kNotTheLowest},
      {caller(0, 6), {}, RegroupResult::kUnordered},
      {caller(0, 6), {0, 3, 2}, RegroupResult::kUnordered},
      {caller(0, 6), {0, 0, 2}, RegroupResult::kUnordered},
  };
  for (const Case& c : cases) {
    const Regrouping answer = regroup(now, c.caller, c.members);
    EXPECT_EQ(answer.result, c.expected) << to_string(answer.result) << ": " << answer.refusal;
    EXPECT_NE(answer.refusal, "");
  }
  EXPECT_EQ(regroup(attempt_of(2, 8), caller(0), {0}).result, RegroupResult::kNothingStands);
}

TEST(Regroup, NeverMoreRanksThanVirtualWorkers) {
  AttemptMembership now = with_newcomer(2, 2);
  now.virtual_workers = 2;
  EXPECT_EQ(regroup(now, caller(0, 5), {0, 1, 2}).result, RegroupResult::kTooMany);
}

TEST(JoinNewcomer, OnlyOneThatIsAwaitedAndOnceUnderOneNumber) {
  AttemptMembership now = formed(2, 5);
  EXPECT_EQ(join_newcomer(now, caller(2), member(2)), JoinResult::kNotAwaited);
  now.awaited = {2};
  EXPECT_EQ(join_newcomer(now, {2, 0, 2, "guess"}, member(2)), JoinResult::kWrongToken);
  EXPECT_EQ(join_newcomer(now, {1, 0, 2, "secret"}, member(2)), JoinResult::kOldAttempt);
  EXPECT_EQ(join_newcomer(now, caller(0), {0, "host", 999}), JoinResult::kRankTaken);
  EXPECT_EQ(join_newcomer(now, caller(2), member(2)), JoinResult::kNewcomer);
  EXPECT_EQ(join_newcomer(now, caller(2), member(2)), JoinResult::kNewcomer) << "said again";
  EXPECT_EQ(join_newcomer(now, caller(2), {2, "host", 999}), JoinResult::kRankTaken);
  adopt(now, regroup(now, caller(0, 5), {0, 1, 2}).generation);
  EXPECT_EQ(join_newcomer(now, caller(2), member(2)), JoinResult::kMember) << "a late repetition";
  EXPECT_EQ(join_newcomer(now, caller(1, 0), member(3)), JoinResult::kNotAwaited);
}

TEST(Join, WhoWasLeftOutDoesNotComeBackByJoining) {
  AttemptMembership now = formed(3, 5);
  adopt(now, regroup(now, caller(0, 5), {0, 2}).generation);
  EXPECT_EQ(join(now, caller(1), 3, member(1)), JoinResult::kLeftOut);
  EXPECT_EQ(join(now, caller(2), 3, member(2)), JoinResult::kMember);
  EXPECT_THAT(now.joined, testing::SizeIs(2));
}

}  // namespace
}  // namespace musher

// Which rank hangs, who is started in a lost one's place, and what the history says of it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/hangs.h"
#include "coordinator/history.h"
#include "coordinator/newcomers.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using Report = v1::ReportRequest;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Deadline::Clock::time_point kNow{1'000'000s};

RankSign sign(int rank, Report::Activity activity, std::chrono::milliseconds activity_for,
              std::chrono::milliseconds silent = 1s) {
  return {rank, kNow - silent, Report::TRAINING, 417, activity, activity_for};
}

TEST(Hangs, WhoIsToBlame) {
  struct Case {
    const char* what;
    std::vector<RankSign> ranks;
    Hang::Kind kind;
    int rank;
  };
  const auto none = Hang::Kind::kNone;
  const auto one = Hang::Kind::kRank;
  const auto all = Hang::Kind::kCollective;
  const std::vector<Case> cases = {
      {"nobody is there", {}, none, -1},
      {"all is well",
       {sign(0, Report::COMPUTING, 1s), sign(1, Report::WAITING_FOR_RANKS, 1s)},
       none,
       -1},
      {"no heartbeat",
       {sign(0, Report::WAITING_FOR_RANKS, 29s), sign(1, Report::COMPUTING, 0s, 30s)},
       one,
       1},
      {"just not yet", {sign(0, Report::COMPUTING, 29'999ms, 29'999ms)}, none, -1},
      {"its heartbeat lives, its training thread does not",
       {sign(0, Report::WAITING_FOR_RANKS, 40s), sign(1, Report::WAITING_FOR_DATA, 30s)},
       one,
       1},
      {"one that computes for ever", {sign(0, Report::COMPUTING, 30s)}, one, 0},
      {"one that writes for ever",
       {sign(0, Report::WRITING, 31s), sign(1, Report::UNKNOWN, 90s)},
       one,
       0},
      {"of two the one for longer",
       {sign(0, Report::COMPUTING, 40s), sign(1, Report::WAITING_FOR_DATA, 50s)},
       one,
       1},
      {"who waits for others is not to blame",
       {sign(0, Report::WAITING_FOR_RANKS, 90s), sign(1, Report::COMPUTING, 2s)},
       none,
       -1},
      {"nor who recovers or has said nothing yet",
       {sign(0, Report::RECOVERING, 90s), sign(1, Report::UNKNOWN, 90s)},
       none,
       -1},
      {"all wait for each other",
       {sign(0, Report::WAITING_FOR_RANKS, 30s), sign(1, Report::WAITING_FOR_RANKS, 45s)},
       all,
       -1},
      {"one of them only since a moment",
       {sign(0, Report::WAITING_FOR_RANKS, 90s), sign(1, Report::WAITING_FOR_RANKS, 2s)},
       none,
       -1},
      {"all wait, and one of them is silent too",
       {sign(0, Report::WAITING_FOR_RANKS, 60s), sign(1, Report::WAITING_FOR_RANKS, 60s, 30s)},
       one,
       1},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const Hang hang = find_hang(c.ranks, 30s, kNow);
    EXPECT_EQ(hang.kind, c.kind) << hang.what;
    EXPECT_EQ(hang.rank, c.rank);
  }
}

TEST(Hangs, TheReasonSaysWhatItWasLastDoing) {
  EXPECT_EQ(find_hang({sign(1, Report::WAITING_FOR_DATA, 3s, 30s)}, 30s, kNow).what,
            "hung: no heartbeat for 30 s; it was training at step 417, waiting for data");
  EXPECT_EQ(
      find_hang({sign(1, Report::COMPUTING, 31'400ms)}, 30s, kNow).what,
      "hung: its training thread showed no sign of life for 31 s; it was training at step 417, "
      "computing");
  EXPECT_EQ(find_hang({sign(1, Report::UNKNOWN, 0s, 30s)}, 30s, kNow).what,
            "hung: no heartbeat for 30 s; it was training at step 417");
}

TEST(Newcomers, AsManyAsAreMissingUnderNumbersNeverGivenBefore) {
  Newcomers newcomers{.next_rank = 4};
  EXPECT_THAT(ask_for_newcomers(newcomers, 4, 4, kNow), IsEmpty());
  EXPECT_THAT(ask_for_newcomers(newcomers, 4, 2, kNow), ElementsAre(4, 5));
  EXPECT_THAT(ask_for_newcomers(newcomers, 4, 2, kNow), IsEmpty()) << "they are on their way";
  drop_newcomer(newcomers, 4);  // it is a member now
  EXPECT_THAT(ask_for_newcomers(newcomers, 4, 3, kNow), IsEmpty());
  EXPECT_THAT(ask_for_newcomers(newcomers, 6, 3, kNow), ElementsAre(6, 7));
}

TEST(Newcomers, AfterEachFailureTheNextIsAskedForLater) {
  Newcomers newcomers{.next_rank = 2};
  auto now = kNow;
  for (const auto pause : {1s, 2s, 4s, 8s, 16s, 32s, 60s, 60s}) {
    const auto added = ask_for_newcomers(newcomers, 2, 1, now);
    ASSERT_EQ(added.size(), 1u);
    newcomer_failed(newcomers, added.front(), now);
    EXPECT_THAT(ask_for_newcomers(newcomers, 2, 1, now + pause - 1ms), IsEmpty());
    now += pause;
  }
  EXPECT_EQ(newcomers.next_rank, 10);
  newcomer_failed(newcomers, 77, now);
  EXPECT_EQ(newcomers.failures, 8) << "nobody knows that one";
  EXPECT_EQ(newcomer_backoff(0), 0s);
  EXPECT_EQ(newcomer_backoff(1'000'000), 60s);
}

TEST(Newcomers, WhoseProcessEndedIsToldByPidThenBySpawnThenByTurn) {
  using State = NewcomerRecord::State;
  const std::map<int, NewcomerRecord> newcomers = {{4, {{4, "h", 100}, State::kMember, 0}},
                                                   {5, {{5, "", 0}, State::kGivenUp, 2}},
                                                   {6, {{6, "h", 300}, State::kJoined, 0}},
                                                   {7, {{7, "", 0}, State::kAskedFor, 0}},
                                                   {8, {{8, "", 0}, State::kAskedFor, 0}}};
  EXPECT_EQ(newcomer_of(newcomers, 3, 300), 6);
  EXPECT_EQ(newcomer_of(newcomers, 1, 100), 4) << "a member, or given up, but known";
  EXPECT_EQ(newcomer_of(newcomers, 2, 200), 5)
      << "read again after a restart: it blames nobody else";
  EXPECT_EQ(newcomer_of(newcomers, 4, 400), 7) << "it ended before it joined";
  EXPECT_EQ(newcomer_of(newcomers, 4, 0), 7);
  EXPECT_EQ(newcomer_of({}, 1, 100), std::nullopt);
}

Generation generation(std::vector<int> ranks) {
  Generation result;
  for (const int rank : ranks) result.members.push_back({rank, "a", 100 + rank});
  return result;
}

v1::Recovery recovery(std::uint64_t step, bool again, double seconds) {
  v1::Recovery result;
  result.set_step(step);
  result.set_ran_again(again);
  result.set_seconds(seconds);
  return result;
}

TEST(History, OneLineARecovery) {
  JobState state;
  state.lost[2] = {WallTime(2s), "was killed by signal 9 (Killed)", true};
  EXPECT_EQ(recovery_line(change_between(generation({0, 1, 2, 3}), generation({0, 1, 3}), state), 3,
                          recovery(418, true, 0.2149)),
            "rank 2 on host a was killed by signal 9 (Killed); 3 ranks went on with step 418 after "
            "0.21 s, which was run again");
  EXPECT_EQ(recovery_line(change_between(generation({0, 1, 3}), generation({0, 1, 3, 4}), state), 4,
                          recovery(530, false, 0.12)),
            "rank 4 joined: 4 ranks from step 530 on, training paused for 0.12 s");
}

TEST(History, SeveralThingsInOneLineTheFirstCauseFirst) {
  JobState state;
  state.lost[1] = {WallTime(5s), "exited with code 1", true};
  state.lost[2] = {WallTime(4s), "was killed by signal 9 (Killed)", true};
  const Change change = change_between(generation({0, 1, 2}), generation({0, 3}), state);
  EXPECT_EQ(
      change.text,
      "rank 2 on host a was killed by signal 9 (Killed); rank 1 on host a exited with code 1; "
      "rank 3 joined");
  EXPECT_THAT(recovery_line(change_between(generation({0, 2}), generation({0}), state), 1,
                            recovery(7, false, 1)),
              testing::EndsWith("; 1 rank went on with step 7 after 1.00 s"));
}

TEST(History, WhoLeftWasNotLostAndTheSameRanksAgainMeanAHungCollective) {
  const Change left = change_between(generation({0, 1}), generation({0}), {});
  EXPECT_EQ(left.text, "rank 1 left");
  EXPECT_FALSE(left.lost);
  EXPECT_THAT(recovery_line(change_between(generation({0, 1}), generation({0, 1}), {}), 2,
                            recovery(9, true, 31)),
              HasSubstr("hung"));
}

}  // namespace
}  // namespace musher

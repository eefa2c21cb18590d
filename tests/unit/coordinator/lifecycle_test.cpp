#include "coordinator/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lifecycle_story.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Lifecycle, AJobThatGoesWell) {
  Story story;
  story.then(Scheduled{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kStartAttempt));
  EXPECT_EQ(story.state().attempt, 1);
  story.then(RanksJoined{1})
      .then(PhaseReported{1, Report::LOADING})
      .then(PhaseReported{1, Report::TRAINING});
  story.then(PhaseReported{1, Report::VALIDATING}).then(PhaseReported{1, Report::UPLOADING});
  story.all_finish(Finish::COMPLETED, "s3://jobs/a/output/model.tar.gz");
  EXPECT_EQ(story.state().status, Status::InProgress) << "processes still run";
  story.ended();
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kOver));
  EXPECT_EQ(story.state().status, Status::Completed);
  EXPECT_EQ(story.state().artifact, "s3://jobs/a/output/model.tar.gz");
  EXPECT_THAT(story.statuses(),
              ElementsAre(Secondary::Pending, Secondary::Starting, Secondary::Downloading,
                          Secondary::Training, Secondary::Uploading, Secondary::Completed));
}

TEST(Lifecycle, FinishDecidesNotTheExit) {
  Story story;
  story.running().ended();
  EXPECT_EQ(story.state().status, Status::Failed) << "no rank finished";
  EXPECT_EQ(story.state().artifact, "");
  EXPECT_THAT(story.state().failure, HasSubstr("mpirun ended"));
}

TEST(Lifecycle, OnceTheArtifactStandsNoDeathSpoilsTheJob) {
  const RankFinished said{1, 1, Finish::COMPLETED, "", "s3://b/m"};
  struct Case {
    const char* what;
    std::vector<Event> events;
  };
  const std::vector<Case> cases = {
      {"the leader dies before its Finish", {RankLost{1, 0, "was killed by signal 9"}, said}},
      {"the leader dies after the other's", {said, RankLost{1, 0, "was killed by signal 9"}}},
      {"mpirun ends before the leader's", {said}},
      {"the others go on without it", {RankLost{1, 0, "x"}, Regrouped{1, {1}, {}, {}}, said}},
      {"who said it dies with its Finish", {said, Regrouped{1, {0}, {}, {}}, RankLost{1, 0, "x"}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Story story(2, 3);
    story.running();
    for (const Event& event : c.events) story.then(event);
    story.ended(first_pending_loss(story.state()), "rank 0 was killed");
    EXPECT_EQ(story.state().status, Status::Completed);
    EXPECT_EQ(story.state().artifact, "s3://b/m");
    EXPECT_EQ(story.state().failure, "");
  }
}

TEST(Lifecycle, CompletedWithoutAnArtifactNeedsEveryRank) {
  Story story(2, 0);
  story.running().then(RankFinished{1, 1, Finish::COMPLETED, "", ""});
  story.then(RankLost{1, 0, "was killed by signal 9"}).ended(0, "rank 0 was killed by signal 9");
  EXPECT_EQ(story.state().status, Status::Failed) << "nobody has said that an artifact stands";
  EXPECT_EQ(story.state().failure, "rank 0 was killed by signal 9");
}

TEST(Lifecycle, RanksThatDisagreeOnTheEndCompleteNothing) {
  Story story(2, 0);
  story.running().then(RankFinished{1, 0, Finish::COMPLETED, "", "s3://b/m"});
  story.then(RankFinished{1, 1, Finish::STOPPED, "", "s3://b/m"}).ended();
  EXPECT_EQ(story.state().status, Status::Failed);
}

TEST(Lifecycle, ProcessesThatDoNotExitAfterTheirFinishAreKilledAndTheJobIsComplete) {
  Story story;
  story.running().all_finish(Finish::COMPLETED, "s3://b/m");
  ASSERT_TRUE(next_tick(story.state()));
  EXPECT_EQ(*next_tick(story.state()), story.now() + Grace{}.exit);
  story.at(*next_tick(story.state()), Tick{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kKill));
  story.ended();
  EXPECT_EQ(story.state().status, Status::Completed);
}

TEST(Lifecycle, StopOfAQueuedJobNeedsNoProcess) {
  Story story;
  story.then(StopRequested{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kOver));
  EXPECT_EQ(story.state().status, Status::Stopped);
  EXPECT_THAT(story.statuses(),
              ElementsAre(Secondary::Pending, Secondary::Stopping, Secondary::Stopped));
  EXPECT_FALSE(story.state().training_start);
}

TEST(Lifecycle, StopIsAskedForOnceHoweverOftenItIsRequested) {
  Story story;
  story.running().then(StopRequested{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kAskToStop));
  const JobState stopping = story.state();
  EXPECT_EQ(stopping.status, Status::Stopping);
  story.then(StopRequested{});
  EXPECT_THAT(story.kinds(), IsEmpty());
  EXPECT_EQ(story.state(), stopping);
  story.all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().status, Status::Stopped);
  EXPECT_EQ(story.state().secondary, Secondary::Stopped);
  EXPECT_EQ(story.state().artifact, "s3://b/m") << "the model so far is saved";
  story.then(StopRequested{});
  EXPECT_EQ(story.state().status, Status::Stopped);
}

TEST(Lifecycle, RanksThatIgnoreTheStopAreKilledAfterTheGracePeriod) {
  Story story;
  story.running().then(StopRequested{});
  const WallTime due = story.now() + Grace{}.stop;
  EXPECT_EQ(*next_tick(story.state()), due);
  story.at(due - 1ms, Tick{});
  EXPECT_THAT(story.kinds(), IsEmpty());
  story.at(due, Tick{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kKill));
  story.ended();
  EXPECT_EQ(story.state().status, Status::Stopped);
  EXPECT_THAT(story.state().transitions.back().message, HasSubstr("were killed"));
}

TEST(Lifecycle, AKillThatDidNotHappenIsRepeated) {
  Story story;
  story.running().then(StopRequested{});
  story.at(*next_tick(story.state()), Tick{});
  story.at(*next_tick(story.state()), Tick{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kKill));
}

TEST(Lifecycle, AJobThatWasDoneBeforeTheStopReachedItIsCompleted) {
  Story story;
  story.running().then(StopRequested{}).all_finish(Finish::COMPLETED, "s3://b/m").ended();
  EXPECT_EQ(story.state().status, Status::Completed);
}

TEST(Lifecycle, MaxRuntimeEndsAsStoppedNotFailed) {
  Story story(2, 0, 1min);
  story.running();
  const WallTime due = kStart + 1s + 1min;  // it was scheduled after one second
  EXPECT_EQ(*next_tick(story.state()), due);
  story.at(due - 1ms, Tick{});
  EXPECT_EQ(story.state().status, Status::InProgress);
  story.at(due, Tick{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kAskToStop));
  story.all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().status, Status::Stopped);
  EXPECT_EQ(story.state().secondary, Secondary::MaxRuntimeExceeded);
}

TEST(Lifecycle, TimeInTheQueueIsNotRuntime) {
  Story story(1, 0, 1min);
  story.at(kStart + 1h, Tick{});
  EXPECT_EQ(story.state().secondary, Secondary::Pending);
  story.then(Scheduled{}).then(Tick{});
  EXPECT_EQ(story.state().status, Status::InProgress);
}

TEST(Lifecycle, RuntimeSpansAllAttempts) {
  Story story(1, 1, 1min);
  story.then(Scheduled{});
  story.at(story.now() + 40s, AttemptEnded{1, 0, "rank 0 was killed"});
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_FALSE(next_tick(story.state()));
  story.at(story.now() + 1h, Scheduled{});
  EXPECT_EQ(*next_tick(story.state()), story.now() + 20s);
  EXPECT_EQ(billable(story.state(), story.now() + 5s), 45s);
}

TEST(Lifecycle, WhatAnOldAttemptSaysChangesNothing) {
  Story story(2, 1);
  story.running().ended(1).then(Scheduled{});
  const JobState second = story.state();
  for (const Event& event : std::vector<Event>{
           RanksJoined{1}, PhaseReported{1, Report::UPLOADING},
           RankFinished{1, 0, Finish::COMPLETED, "", "s3://b/m"},
           RankFinished{1, 0, Finish::FAILED, "x", ""}, AttemptEnded{1, {}, "late"}}) {
    story.then(event);
    EXPECT_EQ(story.state(), second);
    EXPECT_THAT(story.kinds(), IsEmpty());
  }
}

TEST(Lifecycle, PhasesNeverGoBack) {
  Story story;
  story.running().then(PhaseReported{1, Report::LOADING});
  EXPECT_EQ(story.state().secondary, Secondary::Training);
  story.then(PhaseReported{1, Report::UPLOADING}).then(PhaseReported{1, Report::TRAINING});
  EXPECT_EQ(story.state().secondary, Secondary::Uploading);
  story.then(StopRequested{}).then(PhaseReported{1, Report::UPLOADING});
  EXPECT_EQ(story.state().secondary, Secondary::Stopping);
}

TEST(Restart, AQueuedJobIsQueuedAgain) {
  Story story;
  const JobState before = story.state();
  story.then(CoordinatorRestarted{});
  EXPECT_EQ(story.state(), before);
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kQueue));
}

TEST(Restart, RanksThatWentOnAreLeftAlone) {
  Story story;
  story.running();
  const JobState before = story.state();
  story.then(CoordinatorRestarted{true, true});
  EXPECT_EQ(story.state(), before);
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kNotice));
}

TEST(Restart, AStopThatMayNotHaveReachedTheRanksIsAskedAgain) {
  Story story;
  story.running().then(StopRequested{}).then(CoordinatorRestarted{true, true});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kNotice, Kind::kAskToStop));
}

TEST(Restart, AnAttemptThatEndedMeanwhileCounts) {
  Story story(2, 1);
  story.running().then(CoordinatorRestarted{true, false});
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().retries_left, 0);
}

TEST(Restart, WhatWasFinishedBeforeStaysFinished) {
  Story story;
  story.running().all_finish(Finish::COMPLETED, "s3://b/m").then(CoordinatorRestarted{true, false});
  EXPECT_EQ(story.state().status, Status::Completed);
}

TEST(Edges, NothingLeavesAnEnd) {
  for (int from = Secondary::Value_MIN; from <= Secondary::Value_MAX; ++from) {
    for (int to = Secondary::Value_MIN; to <= Secondary::Value_MAX; ++to) {
      const auto status = status_of(static_cast<Secondary::Value>(from));
      if (status == Status::InProgress || status == Status::Stopping) continue;
      EXPECT_FALSE(
          legal_edge(static_cast<Secondary::Value>(from), static_cast<Secondary::Value>(to)));
    }
  }
}

TEST(Lifecycle, RandomEventsNeverLeaveTheLifeCycle) {
  std::uint64_t random = 1;
  const auto below = [&](std::uint64_t bound) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (random >> 33) % bound;
  };
  int over = 0;
  for (int run = 0; run < 2000; ++run) {
    Story story(1 + static_cast<int>(below(3)), static_cast<int>(below(3)), 30s);
    for (int i = 0; i < 40 && !story.state().over(); ++i) {
      const std::uint64_t attempt = below(10) == 0 ? below(4) : story.state().attempt;
      const int rank = static_cast<int>(below(4));
      const std::vector<Event> events = {
          Scheduled{},
          RanksJoined{attempt},
          PhaseReported{attempt, static_cast<Report::Phase>(below(6))},
          RankFinished{attempt, rank, static_cast<RankOutcome>(below(4)), "why", "s3://b/m"},
          RankLost{attempt, rank, "gone", below(2) == 0},
          Regrouped{attempt, {rank, rank + 1}, {}, {}},
          Resized{1 + rank},
          StopRequested{},
          WaitingExplained{"waits"},
          Launching{"launches"},
          AttemptEnded{attempt, below(2) == 0 ? std::optional(rank) : std::nullopt, "gone"},
          CoordinatorRestarted{below(2) == 0, below(2) == 0},
          Tick{},
          JobFailed{"no data"}};
      // Ends and failures are rare, so that long stories come about too.
      story.then(events[below(4) == 0 ? below(events.size()) : below(4)]);
      ASSERT_FALSE(testing::Test::HasFailure()) << "run " << run;
    }
    over += story.state().over() ? 1 : 0;
  }
  EXPECT_GT(over, 1000);
}

}  // namespace
}  // namespace musher

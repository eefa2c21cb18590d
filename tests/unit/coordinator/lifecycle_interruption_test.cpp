#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/lifecycle.h"
#include "lifecycle_story.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr auto kSpot = "EC2 takes host a back (terminate at 2026-01-02T03:04:05Z)";

TEST(Lifecycle, RanksStoppedFromOutsideAreAnInterruption) {
  Story story(2, 1);
  story.running().all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().artifact, "");
}

TEST(Lifecycle, AnInterruptionIsNamedByWhatCausedIt) {
  Story story(2, 1);
  story.running().then(InterruptionNoticed{1, "rank 0 was told to end by signal 15"});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kNotice));
  EXPECT_EQ(story.state().secondary, Secondary::Training) << "the ranks still save their state";
  story.all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().transitions.back().message, "rank 0 was told to end by signal 15");
  EXPECT_EQ(story.state().retries_left, 0);
}

TEST(Lifecycle, ASpotInterruptionCostsNoRetry) {
  Story story(2, 0);
  story.running().then(InterruptionNoticed{1, kSpot, true});
  story.all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().transitions.back().message, kSpot);
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kNotice, Kind::kQueue));
  story.then(Scheduled{});
  EXPECT_EQ(story.state().interruption, "") << "of the attempt before";
  EXPECT_FALSE(story.state().spot_interruption);
  story.ended(0, "rank 0 was killed");
  EXPECT_EQ(story.state().status, Status::Failed) << "this one is counted";
}

TEST(Lifecycle, AnAttemptThatNeverBeganForAHostDidNotAnswerCostsNoRetry) {
  Story story(2, 0);
  for (std::uint64_t attempt = 1; attempt <= 3; ++attempt) {
    story.then(Scheduled{});
    story.then(AttemptEnded{attempt, {}, "host h2 does not answer", /*unbegun=*/true});
    EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
    EXPECT_EQ(story.state().transitions.back().message, "host h2 does not answer");
    EXPECT_THAT(story.kinds(), ElementsAre(Kind::kNotice, Kind::kQueue));
  }
}

TEST(Lifecycle, AnAttemptWhoseHostsASchedulerTookBackCostsNoRetryThoughItsRanksSaved) {
  Story story(2, 0);
  story.running().all_finish(Finish::STOPPED, "s3://b/m");
  story.then(AttemptEnded{1, {}, "Slurm took the nodes back", /*unbegun=*/true});
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().transitions.back().message, "Slurm took the nodes back");
}

TEST(Lifecycle, WhatRanksSayOfFailuresIsASymptomWhereTheirHostsWereTakenBack) {
  for (const std::optional<int> lost : {std::optional<int>(), std::optional<int>(0)}) {
    Story story(2, 0);
    story.running().then(RankFinished{1, 1, Finish::FAILED, "MPIX_ERR_PROC_FAILED", ""});
    story.then(AttemptEnded{1, lost, "Slurm took the nodes back; …", /*unbegun=*/true,
                            "Slurm took the nodes back"});
    EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
    EXPECT_EQ(story.state().transitions.back().message, "Slurm took the nodes back; …");
  }
}

TEST(Lifecycle, WhatBefellTheHostsIsToldThoughTheRanksSavedAndSaidThatTheyWereToldToStop) {
  Story story(2, 1);
  story.running().then(InterruptionNoticed{1, "SIGTERM"}).all_finish(Finish::STOPPED, "s3://b/m");
  story.then(AttemptEnded{1, {}, "a node failed; …", /*unbegun=*/false, "a node failed"});
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().transitions.back().message, "SIGTERM; then a node failed");
  EXPECT_EQ(story.state().retries_left, 0);
}

TEST(Lifecycle, ASchedulerBesideMushersSaysWhatAJobWaitsFor) {
  Story story(2, 1);
  story.then(WaitingExplained{"Slurm's job 12 waits: Priority"});
  EXPECT_EQ(story.state().transitions.size(), 1U);
  EXPECT_EQ(story.state().transitions.back().message, "Slurm's job 12 waits: Priority");
  const WallTime modified = story.state().modified;
  story.then(WaitingExplained{"Slurm's job 12 waits: Priority"});
  EXPECT_EQ(story.state().modified, modified) << "it says nothing new";
  story.then(Scheduled{}).then(AttemptEnded{1, {}, "gone"});
  story.then(WaitingExplained{"Slurm's job 13 waits: Resources"});
  EXPECT_EQ(story.state().transitions.back().message, "gone") << "why it was interrupted stays";
}

TEST(Lifecycle, ASchedulersTimeLimitEndsTheJobAsItsOwnWould) {
  Story story(2, 1);
  story.running().then(StopRequested{StopReason::kMaxRuntime, "Slurm's time limit"});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kAskToStop));
  EXPECT_EQ(story.state().transitions.back().message, "Slurm's time limit");
  story.all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().secondary, Secondary::MaxRuntimeExceeded);
  EXPECT_EQ(story.state().artifact, "s3://b/m");
}

TEST(Lifecycle, AHostThatGoesBeforeItsRanksHaveSavedIsStillASpotInterruption) {
  Story story(2, 0);
  story.running().then(InterruptionNoticed{1, kSpot, true}).ended({}, "mpirun ended");
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().transitions.back().message, std::string(kSpot) + "; then mpirun ended");
}

TEST(Lifecycle, ASpotNoticeOutranksTheSignalsThatComeWithIt) {
  Story story(2, 0);
  story.running().then(InterruptionNoticed{1, "signal 15", false});
  story.then(InterruptionNoticed{1, kSpot, true});
  story.then(InterruptionNoticed{1, "signal 15, again", false});
  EXPECT_THAT(story.kinds(), IsEmpty());
  story.then(InterruptionNoticed{1, "another host's", true});
  EXPECT_THAT(story.kinds(), IsEmpty()) << "the first cause stays";
  EXPECT_EQ(story.state().interruption, kSpot);
}

TEST(Lifecycle, TheSignalsOfAStopAreNoInterruption) {
  Story story(2, 1);
  story.running().then(StopRequested{}).then(InterruptionNoticed{1, "signal 15", false});
  EXPECT_EQ(story.state().interruption, "");
  story.all_finish(Finish::STOPPED, "s3://b/m").ended();
  EXPECT_EQ(story.state().secondary, Secondary::Stopped);
}

TEST(Lifecycle, ASpotJobThatIsThroughIsCompletedAllTheSame) {
  Story story(2, 0);
  story.running().then(InterruptionNoticed{1, kSpot, true});
  story.all_finish(Finish::COMPLETED, "s3://b/m").ended();
  EXPECT_EQ(story.state().status, Status::Completed);
}

TEST(Lifecycle, MaxWaitCountsFromCreationAndInTheQueue) {
  JobState state = submitted(2, 0, 1min, kStart);
  state.max_wait = 10min;
  EXPECT_EQ(next_tick(state), kStart + 10min);
  EXPECT_EQ(decide(state, Tick{}, kStart + 10min - 1ms).state, state);
  state = decide(state, Tick{}, kStart + 10min).state;
  EXPECT_EQ(state.status, Status::Stopped);
  EXPECT_EQ(state.secondary, Secondary::MaxWaitTimeExceeded);
  EXPECT_FALSE(next_tick(state));
}

TEST(Lifecycle, MaxPendingEndsAJobThatNeverStartedAndNoOther) {
  JobState waits = submitted(1, 1, 1h, kStart);
  waits.max_pending = 30min;
  EXPECT_EQ(next_tick(waits), kStart + 30min);
  EXPECT_EQ(decide(waits, Tick{}, kStart + 29min).state, waits);
  const JobState ended = decide(waits, Tick{}, kStart + 30min).state;
  EXPECT_EQ(ended.status, Status::Stopped);
  EXPECT_EQ(ended.secondary, Secondary::Stopped);
  EXPECT_EQ(ended.transitions[1].message,
            "The job was pending for MaxPendingTimeInSeconds, 1800 s.");
  JobState runs = decide(waits, Scheduled{}, kStart + 1min).state;
  EXPECT_EQ(next_tick(runs), kStart + 61min);
  EXPECT_EQ(decide(runs, Tick{}, kStart + 40min).state, runs);
  runs = decide(runs, AttemptEnded{1, {}, "gone"}, kStart + 45min).state;
  ASSERT_EQ(runs.secondary, Secondary::Interrupted);
  EXPECT_EQ(decide(runs, Tick{}, kStart + 46min).state, runs) << "it did start";
}

TEST(Lifecycle, InstancesOfItsOwnAreLaunchedBeforeTheAttemptBegins) {
  Story story(2, 1);
  story.then(Launching{"Launching requested ML instances."});
  EXPECT_EQ(story.state().secondary, Secondary::Starting);
  EXPECT_FALSE(story.state().attempt_started);
  const JobState before = story.state();
  story.then(Launching{"Launching requested ML instances."});
  EXPECT_EQ(story.state(), before) << "said again it changes nothing";
  story.then(Launching{"Preparing the instances for training."});
  EXPECT_THAT(story.statuses(), ElementsAre(Secondary::Pending, Secondary::Starting));
  EXPECT_EQ(story.state().transitions.back().message, "Preparing the instances for training.");
  story.then(CoordinatorRestarted{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kQueue));
  story.then(Scheduled{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kStartAttempt));
  EXPECT_EQ(story.state().transitions.back().message, "Starting the training job.");
  story.then(Launching{"Launching requested ML instances."});
  EXPECT_EQ(story.state().transitions.back().message, "Starting the training job.") << "it runs";
  story.then(RanksJoined{1}).then(PhaseReported{1, Report::TRAINING}).ended(1);
  ASSERT_EQ(story.state().secondary, Secondary::Interrupted);
  story.then(Launching{"Launching requested ML instances."}).then(Scheduled{});
  EXPECT_EQ(story.state().attempt, 2);
  EXPECT_EQ(story.state().transitions.back().message, "Starting attempt 2.");
}

TEST(Lifecycle, AJobWhoseInstancesDoNotComeFailsIsStoppedAndIsPendingAllTheWhile) {
  JobState state = submitted(1, 1, 1h, kStart);
  state.max_pending = 30min;
  state = decide(state, Launching{"no room"}, kStart + 1min).state;
  EXPECT_EQ(decide(state, JobFailed{"CapacityError: no room"}, kStart + 2min).state.status,
            Status::Failed);
  EXPECT_EQ(decide(state, StopRequested{}, kStart + 2min).state.status, Status::Stopped);
  EXPECT_EQ(next_tick(state), kStart + 30min);
  EXPECT_EQ(decide(state, Tick{}, kStart + 30min).state.status, Status::Stopped);
}

TEST(Lifecycle, MaxWaitEndsARunningJobWithTheModelSoFar) {
  JobState state = submitted(1, 0, 1h, kStart);
  state.max_wait = 1h;
  state = decide(state, Scheduled{}, kStart + 30min).state;
  EXPECT_EQ(next_tick(state), kStart + 1h);
  const Decision decision = decide(state, Tick{}, kStart + 1h);
  EXPECT_EQ(decision.state.secondary, Secondary::Stopping);
  ASSERT_EQ(decision.actions.size(), 1);
  EXPECT_EQ(decision.actions[0].kind, Kind::kAskToStop);
  state = decide(decision.state, RankFinished{1, 0, Finish::STOPPED, "", "s3://b/m"}, kStart + 1h)
              .state;
  state = decide(state, AttemptEnded{1, {}, ""}, kStart + 1h).state;
  EXPECT_EQ(state.secondary, Secondary::MaxWaitTimeExceeded);
  EXPECT_EQ(state.artifact, "s3://b/m");
}

TEST(Lifecycle, MaxWaitBoundsTheInterruptionsOfASpotJob) {
  JobState state = submitted(1, 0, 1h, kStart);
  state.max_wait = 1h;
  state = decide(state, Scheduled{}, kStart).state;
  state = decide(state, InterruptionNoticed{1, kSpot, true}, kStart).state;
  state = decide(state, AttemptEnded{1, {}, "gone"}, kStart).state;
  ASSERT_EQ(state.secondary, Secondary::Interrupted);
  EXPECT_EQ(next_tick(state), kStart + 1h);
  state = decide(state, Tick{}, kStart + 1h).state;
  EXPECT_EQ(state.secondary, Secondary::MaxWaitTimeExceeded);
}

TEST(Lifecycle, AStopWhileInterruptedNeedsNoProcess) {
  Story story(2, 1);
  story.running().ended(1).then(StopRequested{});
  EXPECT_EQ(story.state().status, Status::Stopped);
}

}  // namespace
}  // namespace musher

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/lifecycle.h"
#include "lifecycle_story.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Recovery, ALossAloneEndsNothing) {
  Story story(3, 0);
  story.running().then(RankLost{1, 2, "was killed by signal 9 (Killed)"});
  EXPECT_THAT(story.kinds(), IsEmpty());
  EXPECT_EQ(story.state().secondary, Secondary::Training);
  EXPECT_EQ(first_pending_loss(story.state()), 2);
  story.then(Regrouped{1, {0, 1}, {}, {}});
  EXPECT_EQ(first_pending_loss(story.state()), std::nullopt) << "the others went on";
  story.then(RankFinished{1, 0, Finish::COMPLETED, "", "s3://b/m"});
  story.then(RankFinished{1, 1, Finish::COMPLETED, "", "s3://b/m"});
  EXPECT_EQ(next_tick(story.state()), story.now() + Grace{}.exit);
  story.ended();
  EXPECT_EQ(story.state().status, Status::Completed);
  EXPECT_EQ(story.state().retries_left, 0) << "no attempt was lost";
}

TEST(Recovery, WhenAllAreDeadTheAttemptIsEndedAtOnceAndTheFirstIsTheCause) {
  Story story(3, 1);
  story.running().then(RankLost{1, 1, "was killed by signal 9"}).then(Regrouped{1, {0, 2}, {}, {}});
  story.then(RankLost{1, 2, "was killed by signal 11"}).then(RankLost{1, 0, "exited with code 1"});
  EXPECT_EQ(next_tick(story.state()), story.now());
  EXPECT_EQ(first_pending_loss(story.state()), 2) << "1 was got over";
  story.then(Tick{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kKill));
  story.ended(2, "rank 2 was killed by signal 11");
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().retries_left, 0);
  story.then(Scheduled{});
  EXPECT_THAT(story.state().lost, IsEmpty());
  EXPECT_THAT(story.state().members, ElementsAre(0, 1, 2));
}

TEST(Recovery, ADeathWhileStoppingLeavesTheStopToTheOthers) {
  Story story(2, 1);
  story.running().then(StopRequested{}).then(RankLost{1, 0, "was killed by signal 9"});
  story.then(Regrouped{1, {1}, {}, {}}).then(RankFinished{1, 1, Finish::STOPPED, "", "s3://b/m"});
  EXPECT_EQ(next_tick(story.state()), story.now() + Grace{}.exit);
  story.ended();
  EXPECT_EQ(story.state().secondary, Secondary::Stopped);
  EXPECT_EQ(story.state().artifact, "s3://b/m");
}

TEST(Recovery, AllDeadWhileStoppingIsStoppedAndSaysSo) {
  Story story(2, 1);
  story.running().then(StopRequested{}).then(RankLost{1, 0, "x"}).then(RankLost{1, 1, "y"});
  story.then(Tick{}).ended(0, "rank 0 x");
  EXPECT_EQ(story.state().secondary, Secondary::Stopped);
  EXPECT_THAT(story.state().transitions.back().message, HasSubstr("died before"));
}

TEST(Recovery, AFailureAfterARecoveryIsItsOwnCause) {
  Story story(3, 2);
  story.running().then(RankLost{1, 2, "was killed by signal 9"}).then(Regrouped{1, {0, 1}, {}, {}});
  story.then(RankFinished{1, 1, Finish::FAILED, "no such bucket", ""}).ended();
  EXPECT_EQ(story.state().status, Status::Failed);
  EXPECT_EQ(story.state().failure, "rank 1: no such bucket");
}

TEST(Recovery, WhatWasSeenReplacesWhatWasNoticedAndNothingReplacesThat) {
  Story story(3, 0);
  Regrouped without{1, {0, 1}, {{2, {kStart, "is gone: an all-reduce failed", false}}}, {}};
  story.running().then(without);
  const auto what = [&] { return story.state().lost.at(2).what; };
  EXPECT_EQ(what(), "is gone: an all-reduce failed");
  story.then(RankLost{1, 2, "was killed by signal 9 (Killed)"});
  EXPECT_EQ(what(), "was killed by signal 9 (Killed)");
  story.then(RankLost{1, 2, "exited with code 1"}).then(without);
  EXPECT_EQ(what(), "was killed by signal 9 (Killed)");
  story.then(RankLost{1, 7, "nobody knows it"});
  EXPECT_FALSE(story.state().lost.contains(7));
}

TEST(Recovery, ARankThatLeftIsNotLostAndHasNoSayInTheEnd) {
  Story story(3, 0);
  story.running().then(RankFinished{1, 2, Finish::LEFT, "", ""});
  EXPECT_FALSE(next_tick(story.state()) == story.now() + Grace{}.exit);
  story.then(Regrouped{1, {0, 1}, {}, {2}}).then(RankLost{1, 2, "exited with code 0"});
  EXPECT_THAT(story.state().lost, IsEmpty());
  for (const int rank : {0, 1})
    story.then(RankFinished{1, rank, Finish::COMPLETED, "", "s3://b/m"});
  story.ended();
  EXPECT_EQ(story.state().status, Status::Completed);
}

TEST(Recovery, ANewcomerCountsFromItsGenerationOn) {
  Story story(2, 0);
  story.running().then(RankFinished{1, 2, Finish::FAILED, "not a member yet", ""});
  EXPECT_EQ(story.state().failure, "");
  story.then(Regrouped{1, {0, 1, 2}, {}, {}});
  for (const int rank : {0, 1})
    story.then(RankFinished{1, rank, Finish::COMPLETED, "", "s3://b/m"});
  EXPECT_FALSE(all_done(story.state()));
  story.then(RankFinished{1, 2, Finish::COMPLETED, "", "s3://b/m"});
  EXPECT_TRUE(all_done(story.state()));
}

TEST(Recovery, AResizeCountsForTheNextAttempt) {
  Story story(2, 1);
  story.running().then(Resized{4});
  EXPECT_THAT(story.kinds(), IsEmpty());
  EXPECT_EQ(story.state().ranks, 4);
  EXPECT_THAT(story.state().members, ElementsAre(0, 1)) << "until they have joined";
  story.ended(1).then(Scheduled{});
  EXPECT_THAT(story.state().members, ElementsAre(0, 1, 2, 3));
}

TEST(Recovery, WhatAnOldAttemptSaysOfLossesChangesNothing) {
  Story story(2, 1);
  story.running().ended(1).then(Scheduled{});
  const JobState second = story.state();
  story.then(RankLost{1, 0, "x"}).then(Regrouped{1, {1}, {}, {}});
  EXPECT_EQ(story.state(), second);
}

TEST(Restart, AllDeadWhileTheCoordinatorWasAwayIsStillEnded) {
  Story story(1, 0);
  story.running().then(RankLost{1, 0, "x"}).then(CoordinatorRestarted{true, true});
  EXPECT_EQ(*next_tick(story.state()), story.now() - 1s) << "due since the loss";
}

TEST(Lifecycle, TheFirstFailureIsTheReason) {
  Story story;
  story.running().then(RankFinished{1, 1, Finish::FAILED, "s3://data/x can't be read", ""});
  ASSERT_EQ(story.actions().size(), 1);
  EXPECT_EQ(story.actions()[0].kind, Kind::kTellFailure);
  EXPECT_EQ(story.actions()[0].text, "rank 1: s3://data/x can't be read");
  story.then(RankFinished{1, 0, Finish::FAILED, "told to end", ""});
  EXPECT_THAT(story.kinds(), IsEmpty());
  story.ended();
  EXPECT_EQ(story.state().status, Status::Failed);
  EXPECT_EQ(story.state().failure, "rank 1: s3://data/x can't be read");
}

TEST(Lifecycle, AFailureThatARankStatesIsNotRetried) {
  Story story(2, 3);
  story.running().then(RankFinished{1, 0, Finish::FAILED, "no such bucket", ""}).ended();
  EXPECT_EQ(story.state().status, Status::Failed);
}

TEST(Lifecycle, RanksThatHangAfterAFailureAreKilled) {
  Story story;
  story.running().then(RankFinished{1, 1, Finish::FAILED, "x", ""});
  story.at(*next_tick(story.state()), Tick{});
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kKill));
  story.ended();
  EXPECT_EQ(story.state().failure, "rank 1: x");
}

TEST(Lifecycle, ALostRankIsTheCauseAndTheOthersFailuresTheSymptom) {
  Story story(3, 0);
  story.running().then(RankFinished{1, 0, Finish::FAILED, "MPIX_ERR_PROC_FAILED", ""});
  story.ended(2, "rank 2 on h1 was killed by signal 9");
  EXPECT_EQ(story.state().status, Status::Failed);
  EXPECT_EQ(story.state().failure, "rank 2 on h1 was killed by signal 9");
}

TEST(Lifecycle, ALostAttemptIsFollowedByAnotherWithinRetryStrategy) {
  Story story(2, 1);
  story.running().ended(1, "rank 1 was killed by signal 9");
  EXPECT_EQ(story.state().secondary, Secondary::Interrupted);
  EXPECT_EQ(story.state().status, Status::InProgress);
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kNotice, Kind::kQueue));
  story.then(Scheduled{});
  EXPECT_EQ(story.state().attempt, 2);
  EXPECT_EQ(story.state().secondary, Secondary::Starting);
  EXPECT_THAT(story.state().finished, IsEmpty());
  story.ended(0, "rank 0 was killed by signal 11");
  EXPECT_EQ(story.state().status, Status::Failed);
  EXPECT_EQ(story.state().failure, "rank 0 was killed by signal 11");
}

TEST(Lifecycle, ARankOutOfRangeDoesNotCount) {
  Story story(1);
  story.running()
      .then(RankFinished{1, 1, Finish::FAILED, "x", ""})
      .then(RankFinished{1, -1, Finish::FAILED, "x", ""});
  EXPECT_EQ(story.state().failure, "");
}

TEST(Lifecycle, AJobThatFailsBeforeItsAttemptIsOverAtOnce) {
  Story story;
  story.then(JobFailed{"s3://data/train: there is no such bucket"});
  EXPECT_EQ(story.state().status, Status::Failed);
  EXPECT_EQ(story.state().failure, "s3://data/train: there is no such bucket");
}

TEST(Lifecycle, FailureReasonIsCutAtSageMakersLimitBetweenCharacters) {
  Story story;
  story.then(JobFailed{std::string(1023, 'x') + "é and more"});
  EXPECT_EQ(story.state().failure, std::string(1023, 'x'));
}

TEST(Restart, AnAttemptThatNeverBeganCostsNoRetry) {
  Story story(2, 1);
  story.then(Scheduled{})
      .then(PhaseReported{1, Report::LOADING})
      .then(CoordinatorRestarted{false, false});
  EXPECT_EQ(story.state().secondary, Secondary::Pending);
  EXPECT_EQ(story.state().retries_left, 1);
  EXPECT_THAT(story.kinds(), ElementsAre(Kind::kQueue));
  story.then(Scheduled{});
  EXPECT_EQ(story.state().attempt, 2);
}

}  // namespace
}  // namespace musher

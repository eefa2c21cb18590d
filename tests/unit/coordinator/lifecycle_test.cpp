#include "coordinator/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

using namespace std::chrono_literals;
using Finish = v1::FinishRequest;
using Report = v1::ReportRequest;
using Kind = Action::Kind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr WallTime kStart{1'000'000'000ms};

/// A job that events happen to, one second apart. Every edge that it takes must be in the life
/// cycle, and a state that is over must have everything closed.
class Story {
 public:
  explicit Story(int ranks = 2, int retries = 0, std::chrono::milliseconds max_runtime = 1h)
      : state_(submitted(ranks, retries, max_runtime, kStart)) {}

  Story& then(const Event& event) { return at(now_ + 1s, event); }

  Story& at(WallTime when, const Event& event) {
    now_ = when;
    const JobState before = state_;
    Decision decision = decide(before, event, now_);
    state_ = std::move(decision.state);
    kinds_.clear();
    actions_ = std::move(decision.actions);
    for (const Action& action : actions_) kinds_.push_back(action.kind);
    check(before);
    return *this;
  }

  Story& running() {
    return then(Scheduled{}).then(RanksJoined{1}).then(PhaseReported{1, Report::TRAINING});
  }
  Story& all_finish(RankOutcome outcome, const std::string& artifact = "") {
    for (const int rank : std::set<int>(state_.members)) {
      then(RankFinished{state_.attempt, rank, outcome, "", rank == 0 ? artifact : ""});
    }
    return *this;
  }
  Story& ended(std::optional<int> lost = {}, const std::string& reason = "") {
    return then(AttemptEnded{state_.attempt, lost, reason});
  }

  const JobState& state() const { return state_; }
  const std::vector<Kind>& kinds() const { return kinds_; }
  const std::vector<Action>& actions() const { return actions_; }
  WallTime now() const { return now_; }
  std::vector<Secondary::Value> statuses() const {
    std::vector<Secondary::Value> result;
    for (const Transition& transition : state_.transitions) result.push_back(transition.status);
    return result;
  }

 private:
  void check(const JobState& before) const {
    for (std::size_t i = before.transitions.size(); i < state_.transitions.size(); ++i) {
      const auto from = state_.transitions[i - 1].status;
      const auto to = state_.transitions[i].status;
      EXPECT_TRUE(legal_edge(from, to))
          << Secondary::Value_Name(from) << " to " << Secondary::Value_Name(to);
    }
    EXPECT_EQ(state_.secondary, state_.transitions.back().status);
    EXPECT_EQ(state_.status, status_of(state_.secondary));
    for (std::size_t i = 0; i + 1 < state_.transitions.size(); ++i) {
      EXPECT_EQ(state_.transitions[i].end, state_.transitions[i + 1].start);
    }
    EXPECT_EQ(state_.transitions.back().end.has_value(), state_.over());
    if (state_.over()) {
      EXPECT_FALSE(state_.attempt_started);
      EXPECT_FALSE(next_tick(state_));
      EXPECT_TRUE(state_.training_end);
    }
    if (before.over()) {
      EXPECT_EQ(state_, before);
      EXPECT_THAT(actions_, IsEmpty());
    }
  }

  JobState state_;
  std::vector<Kind> kinds_;
  std::vector<Action> actions_;
  WallTime now_ = kStart;
};

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

constexpr auto kSpot = "EC2 takes host a back (terminate at 2026-01-02T03:04:05Z)";

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

#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/lifecycle.h"

namespace musher {

using Finish = v1::FinishRequest;
using Report = v1::ReportRequest;
using Kind = Action::Kind;

constexpr WallTime kStart{std::chrono::milliseconds(1'000'000'000)};

/// A job that events happen to, one second apart. Every edge that it takes must be in the life
/// cycle, and a state that is over must have everything closed.
class Story {
 public:
  explicit Story(int ranks = 2, int retries = 0,
                 std::chrono::milliseconds max_runtime = std::chrono::hours(1))
      : state_(submitted(ranks, retries, max_runtime, kStart)) {}

  Story& then(const Event& event) { return at(now_ + std::chrono::seconds(1), event); }

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
      EXPECT_THAT(actions_, testing::IsEmpty());
    }
  }

  JobState state_;
  std::vector<Kind> kinds_;
  std::vector<Action> actions_;
  WallTime now_ = kStart;
};

}  // namespace musher

#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/lifecycle.h"

/// Private to the lifecycle*.cpp files.
namespace musher {

/// Cut to the bytes that SageMaker's FailureReason may have, at a character's border.
std::string shortened(std::string text);

/// Whether MaxPendingTimeInSeconds runs.
bool is_pending(const JobState& state);

/// The step from one state to the next, in the words of the life cycle.
class LifecycleStep {
 public:
  LifecycleStep(JobState state, WallTime now, const Grace& grace)
      : state_(std::move(state)), now_(now), grace_(grace) {}

  Decision take(const Event& event) {
    if (!state_.over()) std::visit([this](const auto& e) { on(e); }, event);
    return {std::move(state_), std::move(actions_)};
  }

 private:
  using Kind = Action::Kind;

  void on(const Scheduled&);
  void on(const RanksJoined& event);
  void on(const Regrouped& event);
  void on(const RankLost& event);
  void on(const Resized& event);
  void on(const PhaseReported& event);
  void on(const StopRequested& event);
  void on(const WaitingExplained& event);
  void on(const Launching& event);
  void on(const InterruptionNoticed& event);
  void on(const RankFinished& event);
  void on(const JobFailed& event);
  void on(const AttemptEnded& event);
  void on(const CoordinatorRestarted& event);
  void on(const Tick&);

  /// How an attempt that is gone counts. First cause first.
  void settle(const AttemptEnded& event);
  static std::string reason_of(const AttemptEnded& event);
  void finish_stopped(bool killed);
  Secondary::Value stopped_as() const;
  /// The attempt is lost; another may follow.
  void interrupted(std::string reason, bool unbegun = false);
  void stop(StopReason reason, const std::string& message);
  /// Its ranks have the failure grace to end by themselves; the job is Failed when they are gone.
  void fail_attempt(const std::string& reason);
  void kill();
  void kill_by(WallTime when);
  void close_attempt();
  /// Phases only go forward within an attempt, and not once the job is stopping.
  void advance(Secondary::Value to, const std::string& message);
  void finish(Secondary::Value to, std::string message);
  void enter(Secondary::Value to, std::string message) {
    if (!state_.transitions.empty()) state_.transitions.back().end = now_;
    state_.transitions.push_back({to, now_, std::nullopt, std::move(message)});
    state_.secondary = to;
    state_.status = status_of(to);
    touch();
  }
  /// Another word for what the job is at.
  void say(const std::string& message) {
    if (state_.transitions.back().message == message) return;
    state_.transitions.back().message = message;
    touch();
  }
  void set_failure(const std::string& reason) { state_.failure = shortened(reason); }
  void touch() { state_.modified = now_; }
  void act(Kind kind, std::string text = "") { actions_.push_back({kind, std::move(text)}); }
  bool current(std::uint64_t attempt) const {
    return state_.attempt_started && attempt == state_.attempt;
  }
  bool finished(RankOutcome outcome) const {
    return std::any_of(state_.finished.begin(), state_.finished.end(),
                       [&](const auto& entry) { return entry.second == outcome; });
  }
  /// What all that said Finish say, at the attempt's end: whoever has not said it is dead by now.
  /// A rank that left has no say. Where some are dead, COMPLETED counts only with an artifact that
  /// is named: that is what they made sure of together.
  std::optional<RankOutcome> agreed_outcome() const;
  /// False where it says nothing new.
  bool take_loss(int rank, const Loss& loss);
  /// When no member is left to say anything, the processes have a while to end; at once where all
  /// are dead.
  void end_when_done();

  JobState state_;
  const WallTime now_;
  const Grace& grace_;
  std::vector<Action> actions_;
};

}  // namespace musher

// How attempts and jobs end.
#include "coordinator/lifecycle_step.h"

namespace musher {

namespace {

constexpr std::size_t kFailureBytes = 1024;  // SageMaker's limit of FailureReason

}  // namespace

/// Cuts at a character's border, since FailureReason goes through protobuf, which wants UTF-8.
std::string shortened(std::string text) {
  if (text.size() <= kFailureBytes) return text;
  std::size_t end = kFailureBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

void LifecycleStep::settle(const AttemptEnded& event) {
  const bool killed = state_.killed;
  close_attempt();
  if ((event.lost_rank || !event.hosts.empty()) && finished(v1::FinishRequest::FAILED)) {
    // What the others said of failures followed from the loss, or from what befell the hosts.
    if (state_.stop == StopReason::kNone) {
      state_.failure.clear();
      return interrupted(reason_of(event), event.unbegun);
    }
    set_failure(reason_of(event));
  }
  if (!state_.failure.empty()) return finish(Secondary::Failed, state_.failure);
  const std::optional<RankOutcome> outcome = agreed_outcome();
  if (outcome == v1::FinishRequest::COMPLETED) {
    return finish(Secondary::Completed, "The training job completed.");
  }
  if (state_.stop != StopReason::kNone) return finish_stopped(killed);
  if (outcome == v1::FinishRequest::STOPPED && all_done(state_)) {
    std::string reason = event.hosts.empty() ? state_.interruption : event.hosts;
    if (reason.empty()) {
      reason = event.unbegun ? reason_of(event)
                             : "The ranks were told to stop by another than the coordinator.";
    }
    return interrupted(reason, event.unbegun);
  }
  interrupted(reason_of(event), event.unbegun);
}

std::string LifecycleStep::reason_of(const AttemptEnded& event) {
  if (!event.reason.empty()) return event.reason;
  if (event.lost_rank) return "rank " + std::to_string(*event.lost_rank) + " died";
  return "mpirun ended before all ranks were done";
}

void LifecycleStep::finish_stopped(bool killed) {
  const bool dead = std::any_of(state_.members.begin(), state_.members.end(),
                                [&](int rank) { return state_.lost.contains(rank); });
  std::string message = "The training job was stopped.";
  if (!agreed_outcome() && dead) {
    message = "The training job was stopped; its ranks died before they had saved the model.";
  } else if (killed && !all_done(state_)) {
    message = "The ranks did not end within the grace period and were killed.";
  }
  finish(stopped_as(), std::move(message));
}

Secondary::Value LifecycleStep::stopped_as() const {
  if (state_.stop == StopReason::kMaxRuntime) return Secondary::MaxRuntimeExceeded;
  if (state_.stop == StopReason::kMaxWait) return Secondary::MaxWaitTimeExceeded;
  return Secondary::Stopped;
}

void LifecycleStep::interrupted(std::string reason, bool unbegun) {
  if (!state_.interruption.empty() && reason != state_.interruption) {
    reason = state_.interruption + "; then " + reason;
  }
  if (!state_.spot_interruption && !unbegun) {
    if (state_.retries_left == 0) {
      set_failure(reason);
      return finish(Secondary::Failed, state_.failure);
    }
    state_.retries_left -= 1;
  }
  state_.artifact.clear();
  enter(Secondary::Interrupted, shortened(reason));
  act(Kind::kNotice, "Attempt " + std::to_string(state_.attempt) + " was lost: " + reason +
                         "; attempts left: " + std::to_string(state_.retries_left));
  act(Kind::kQueue);
}

void LifecycleStep::stop(StopReason reason, const std::string& message) {
  if (state_.stop != StopReason::kNone) return;  // idempotent
  state_.stop = reason;
  enter(Secondary::Stopping, message);
  if (!state_.attempt_started) {
    return finish(stopped_as(), state_.attempt == 0 ? "Stopped before it ran."
                                                    : "Stopped while it waited to go on.");
  }
  kill_by(now_ + grace_.stop);
  act(Kind::kAskToStop);
}

void LifecycleStep::fail_attempt(const std::string& reason) {
  if (!state_.failure.empty()) return;  // the first cause stays
  set_failure(reason);
  kill_by(now_ + grace_.failure);
  act(Kind::kTellFailure, state_.failure);
}

void LifecycleStep::kill() {
  // Again at each tick until AttemptEnded comes, a grace apart: a signal that was asked for just
  // before a crash of the coordinator may never have been sent.
  state_.killed = true;
  state_.kill_at = now_ + grace_.exit;
  touch();
  act(Kind::kKill);
}

void LifecycleStep::kill_by(WallTime when) {
  if (!state_.kill_at || when < *state_.kill_at) state_.kill_at = when;
  touch();
}

void LifecycleStep::close_attempt() {
  state_.ran = billable(state_, now_);
  state_.attempt_started.reset();
  state_.kill_at.reset();
  state_.killed = false;
}

void LifecycleStep::finish(Secondary::Value to, std::string message) {
  if (to != Secondary::Completed && to != Secondary::Stopped &&
      to != Secondary::MaxRuntimeExceeded && to != Secondary::MaxWaitTimeExceeded) {
    state_.artifact.clear();
  }
  state_.training_end = now_;
  enter(to, std::move(message));
  state_.transitions.back().end = now_;
  act(Kind::kOver);
}

std::optional<RankOutcome> LifecycleStep::agreed_outcome() const {
  std::optional<RankOutcome> agreed;
  bool all = true;
  for (const auto& [rank, outcome] : state_.finished) {
    if (outcome == v1::FinishRequest::LEFT) continue;
    if (agreed && *agreed != outcome) return std::nullopt;
    agreed = outcome;
  }
  for (const int rank : state_.members) all = all && state_.finished.contains(rank);
  if (agreed == v1::FinishRequest::COMPLETED && !all && state_.artifact.empty()) {
    return std::nullopt;
  }
  return agreed;
}

bool LifecycleStep::take_loss(int rank, const Loss& loss) {
  if (state_.finished.contains(rank)) return false;
  const auto [known, added] = state_.lost.emplace(rank, loss);
  if (added) return true;
  if (known->second.seen || !loss.seen) return false;
  known->second.what = loss.what;
  known->second.seen = true;
  return true;
}

void LifecycleStep::end_when_done() {
  if (!all_done(state_) || finished(v1::FinishRequest::FAILED)) return;
  const bool none = std::none_of(state_.members.begin(), state_.members.end(),
                                 [&](int rank) { return state_.finished.contains(rank); });
  kill_by(none ? now_ : now_ + grace_.exit);
}

}  // namespace musher

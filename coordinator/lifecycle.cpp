// What each event does to a job.
#include "coordinator/lifecycle_step.h"

namespace musher {

void LifecycleStep::on(const Scheduled&) {
  if (!waits_to_start(state_)) return;
  state_.attempt += 1;
  state_.attempt_started = now_;
  state_.members.clear();
  for (int rank = 0; rank < state_.ranks; ++rank) state_.members.insert(rank);
  state_.finished.clear();
  state_.lost.clear();
  state_.interruption.clear();
  state_.spot_interruption = false;
  state_.kill_at.reset();
  state_.killed = false;
  if (!state_.training_start) state_.training_start = now_;
  const std::string message = state_.attempt == 1
                                  ? "Starting the training job."
                                  : "Starting attempt " + std::to_string(state_.attempt) + ".";
  if (state_.secondary == Secondary::Starting) {
    say(message);  // its instances were started
  } else {
    enter(Secondary::Starting, message);
  }
  act(Kind::kStartAttempt);
}

void LifecycleStep::on(const RanksJoined& event) {
  if (!current(event.attempt) || state_.secondary != Secondary::Starting) return;
  enter(Secondary::Downloading, "All ranks have joined. Reading the data.");
}

void LifecycleStep::on(const Regrouped& event) {
  if (!current(event.attempt)) return;
  for (const auto& [rank, loss] : event.lost) take_loss(rank, loss);
  for (const int rank : event.left) state_.finished.emplace(rank, v1::FinishRequest::LEFT);
  state_.members = event.members;
  touch();
  end_when_done();
}

void LifecycleStep::on(const RankLost& event) {
  if (!current(event.attempt)) return;
  const bool known = state_.lost.contains(event.rank);
  if (!known && !state_.members.contains(event.rank)) return;
  if (state_.finished.contains(event.rank)) return;
  if (!take_loss(event.rank, {now_, event.what, event.seen})) return;
  touch();
  if (!known) end_when_done();
}

void LifecycleStep::on(const Resized& event) {
  state_.ranks = event.ranks;
  touch();
}

void LifecycleStep::on(const PhaseReported& event) {
  if (!current(event.attempt)) return;
  switch (event.phase) {
    case v1::ReportRequest::LOADING:
      return advance(Secondary::Downloading, "Reading the data.");
    case v1::ReportRequest::TRAINING:
    case v1::ReportRequest::VALIDATING:
    case v1::ReportRequest::SAVING:
      return advance(Secondary::Training, "Training in progress.");
    case v1::ReportRequest::UPLOADING:
      return advance(Secondary::Uploading, "Uploading the model.");
    default:
      return;
  }
}

void LifecycleStep::on(const StopRequested& event) {
  stop(event.reason, event.message);
}

void LifecycleStep::on(const WaitingExplained& event) {
  if (state_.secondary == Secondary::Pending) say(event.message);
}

void LifecycleStep::on(const Launching& event) {
  if (!waits_to_start(state_)) return;
  if (state_.secondary == Secondary::Starting) return say(shortened(event.message));
  enter(Secondary::Starting, shortened(event.message));
}

/// The first cause stays, but what costs no attempt takes its place: a host that is taken back
/// may be shut down by a signal as well.
void LifecycleStep::on(const InterruptionNoticed& event) {
  if (!current(event.attempt) || state_.stop != StopReason::kNone) return;
  const bool known = !state_.interruption.empty();
  if (known && (state_.spot_interruption || !event.spot)) return;
  state_.interruption = shortened(event.reason);
  state_.spot_interruption = event.spot;
  touch();
  act(Kind::kNotice, state_.interruption + "; the ranks save a checkpoint and stop");
}

void LifecycleStep::on(const RankFinished& event) {
  if (!current(event.attempt) || !state_.members.contains(event.rank)) return;
  if (!state_.finished.emplace(event.rank, event.outcome).second) return;  // said again
  if (!event.artifact.empty()) state_.artifact = event.artifact;
  touch();
  if (event.outcome == v1::FinishRequest::FAILED) {
    return fail_attempt("rank " + std::to_string(event.rank) + ": " +
                        (event.failure.empty() ? "failed without a reason" : event.failure));
  }
  end_when_done();
}

void LifecycleStep::on(const JobFailed& event) {
  if (state_.attempt_started) return fail_attempt(event.reason);
  set_failure(event.reason);
  finish(Secondary::Failed, state_.failure);
}

void LifecycleStep::on(const AttemptEnded& event) {
  if (current(event.attempt)) settle(event);
}

void LifecycleStep::on(const CoordinatorRestarted& event) {
  if (!state_.attempt_started) {
    act(Kind::kQueue);
    return;
  }
  if (event.attempt_alive) {
    act(Kind::kNotice, "The coordinator was restarted; the ranks went on.");
    // What was asked before the restart may never have reached them.
    if (state_.status == Status::Stopping) act(Kind::kAskToStop);
    if (!state_.failure.empty()) act(Kind::kTellFailure, state_.failure);
    end_when_done();
    return;
  }
  const bool never_began = !event.attempt_began && legal_edge(state_.secondary, Secondary::Pending);
  if (!never_began || !state_.failure.empty()) {
    return settle({state_.attempt, std::nullopt, "mpirun ended while the coordinator was away"});
  }
  // mpirun was never started: the attempt does not count against RetryStrategy.
  close_attempt();
  enter(Secondary::Pending, "The coordinator was restarted. Waiting for free slots.");
  act(Kind::kQueue);
}

void LifecycleStep::on(const Tick&) {
  const bool may_stop = state_.stop == StopReason::kNone;
  if (may_stop && state_.max_wait.count() > 0 && now_ >= state_.created + state_.max_wait) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(state_.max_wait).count();
    return stop(StopReason::kMaxWait, "MaxWaitTimeInSeconds, " + std::to_string(seconds) +
                                          " s, have passed since the job's creation.");
  }
  if (may_stop && state_.max_pending.count() > 0 && is_pending(state_) &&
      now_ >= state_.created + state_.max_pending) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(state_.max_pending).count();
    return stop(StopReason::kMaxPending, "The job was pending for MaxPendingTimeInSeconds, " +
                                             std::to_string(seconds) + " s.");
  }
  if (!state_.attempt_started) return;
  if (state_.kill_at && now_ >= *state_.kill_at) return kill();
  if (state_.stop == StopReason::kNone && billable(state_, now_) >= state_.max_runtime) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(state_.max_runtime).count();
    stop(StopReason::kMaxRuntime,
         "The job ran for MaxRuntimeInSeconds, " + std::to_string(seconds) + " s.");
  }
}

void LifecycleStep::advance(Secondary::Value to, const std::string& message) {
  if (state_.status != Status::InProgress || state_.secondary >= to) return;
  if (legal_edge(state_.secondary, to)) enter(to, message);
}

Decision decide(JobState state, const Event& event, WallTime now, const Grace& grace) {
  return LifecycleStep(std::move(state), now, grace).take(event);
}

}  // namespace musher

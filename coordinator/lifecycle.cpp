#include "coordinator/lifecycle.h"

#include <algorithm>
#include <array>
#include <utility>

namespace musher {
namespace {

using Kind = Action::Kind;

constexpr std::size_t kFailureBytes = 1024;  // SageMaker's limit of FailureReason

// The edges of SageMaker's life cycle that Musher uses:
//
//   Pending ──→ Starting ──→ Downloading ──→ Training ──→ Uploading ──→ Completed
//      ↑            │              │             │             │
//      └─ Interrupted ←────────────┴─────────────┴─────────────┘          a lost attempt, within
//      RetryStrategy
//
//   any of these ──→ Failed
//   any of these ──→ Stopping ──→ Stopped | MaxRuntimeExceeded | MaxWaitTimeExceeded |
//                              Completed | Failed
//
// Phases may be skipped forward, as a report may come late. Interrupted goes to Starting, with the
// next attempt. A restarted coordinator that never got to start mpirun takes Starting or
// Downloading back to Pending.
constexpr std::pair<Secondary::Value, Secondary::Value> kEdges[] = {
    {Secondary::Pending, Secondary::Starting},
    {Secondary::Pending, Secondary::Stopping},
    {Secondary::Pending, Secondary::Failed},
    {Secondary::Starting, Secondary::Pending},
    {Secondary::Starting, Secondary::Downloading},
    {Secondary::Starting, Secondary::Training},
    {Secondary::Starting, Secondary::Uploading},
    {Secondary::Starting, Secondary::Interrupted},
    {Secondary::Starting, Secondary::Stopping},
    {Secondary::Starting, Secondary::Completed},
    {Secondary::Starting, Secondary::Failed},
    {Secondary::Downloading, Secondary::Pending},
    {Secondary::Downloading, Secondary::Training},
    {Secondary::Downloading, Secondary::Uploading},
    {Secondary::Downloading, Secondary::Interrupted},
    {Secondary::Downloading, Secondary::Stopping},
    {Secondary::Downloading, Secondary::Completed},
    {Secondary::Downloading, Secondary::Failed},
    {Secondary::Training, Secondary::Uploading},
    {Secondary::Training, Secondary::Interrupted},
    {Secondary::Training, Secondary::Stopping},
    {Secondary::Training, Secondary::Completed},
    {Secondary::Training, Secondary::Failed},
    {Secondary::Uploading, Secondary::Interrupted},
    {Secondary::Uploading, Secondary::Stopping},
    {Secondary::Uploading, Secondary::Completed},
    {Secondary::Uploading, Secondary::Failed},
    {Secondary::Interrupted, Secondary::Starting},
    {Secondary::Interrupted, Secondary::Stopping},
    {Secondary::Interrupted, Secondary::Failed},
    {Secondary::Stopping, Secondary::Stopped},
    {Secondary::Stopping, Secondary::MaxRuntimeExceeded},
    {Secondary::Stopping, Secondary::MaxWaitTimeExceeded},
    {Secondary::Stopping, Secondary::Completed},
    {Secondary::Stopping, Secondary::Failed},
};

/// Cuts at a character's border, since FailureReason goes through protobuf, which wants UTF-8.
std::string shortened(std::string text) {
  if (text.size() <= kFailureBytes) return text;
  std::size_t end = kFailureBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

/// The step from one state to the next, in the words of the life cycle.
class Step {
 public:
  Step(JobState state, WallTime now, const Grace& grace)
      : state_(std::move(state)), now_(now), grace_(grace) {}

  Decision take(const Event& event) {
    if (!state_.over()) std::visit([this](const auto& e) { on(e); }, event);
    return {std::move(state_), std::move(actions_)};
  }

 private:
  void on(const Scheduled&) {
    const bool waits =
        state_.secondary == Secondary::Pending || state_.secondary == Secondary::Interrupted;
    if (!waits) return;
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
    enter(Secondary::Starting, state_.attempt == 1
                                   ? "Starting the training job."
                                   : "Starting attempt " + std::to_string(state_.attempt) + ".");
    act(Kind::kStartAttempt);
  }

  void on(const RanksJoined& event) {
    if (!current(event.attempt) || state_.secondary != Secondary::Starting) return;
    enter(Secondary::Downloading, "All ranks have joined. Reading the data.");
  }

  void on(const Regrouped& event) {
    if (!current(event.attempt)) return;
    for (const auto& [rank, loss] : event.lost) take_loss(rank, loss);
    for (const int rank : event.left) state_.finished.emplace(rank, v1::FinishRequest::LEFT);
    state_.members = event.members;
    touch();
    end_when_done();
  }

  void on(const RankLost& event) {
    if (!current(event.attempt)) return;
    const bool known = state_.lost.contains(event.rank);
    if (!known && !state_.members.contains(event.rank)) return;
    if (state_.finished.contains(event.rank)) return;
    if (!take_loss(event.rank, {now_, event.what, event.seen})) return;
    touch();
    if (!known) end_when_done();
  }

  void on(const Resized& event) {
    state_.ranks = event.ranks;
    touch();
  }

  void on(const PhaseReported& event) {
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

  void on(const StopRequested&) { stop(StopReason::kRequested, "A stop was requested."); }

  /// The first cause stays, but what costs no attempt takes its place: a host that is taken back
  /// may be shut down by a signal as well.
  void on(const InterruptionNoticed& event) {
    if (!current(event.attempt) || state_.stop != StopReason::kNone) return;
    const bool known = !state_.interruption.empty();
    if (known && (state_.spot_interruption || !event.spot)) return;
    state_.interruption = shortened(event.reason);
    state_.spot_interruption = event.spot;
    touch();
    act(Kind::kNotice, state_.interruption + "; the ranks save a checkpoint and stop");
  }

  void on(const RankFinished& event) {
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

  void on(const JobFailed& event) {
    if (state_.attempt_started) return fail_attempt(event.reason);
    set_failure(event.reason);
    finish(Secondary::Failed, state_.failure);
  }

  void on(const AttemptEnded& event) {
    if (current(event.attempt)) settle(event);
  }

  void on(const CoordinatorRestarted& event) {
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
    const bool never_began =
        !event.attempt_began && legal_edge(state_.secondary, Secondary::Pending);
    if (!never_began || !state_.failure.empty()) {
      return settle({state_.attempt, std::nullopt, "mpirun ended while the coordinator was away"});
    }
    // mpirun was never started: the attempt does not count against RetryStrategy.
    close_attempt();
    enter(Secondary::Pending, "The coordinator was restarted. Waiting for free slots.");
    act(Kind::kQueue);
  }

  void on(const Tick&) {
    const bool may_stop = state_.stop == StopReason::kNone;
    if (may_stop && state_.max_wait.count() > 0 && now_ >= state_.created + state_.max_wait) {
      const auto seconds = std::chrono::floor<std::chrono::seconds>(state_.max_wait).count();
      return stop(StopReason::kMaxWait, "MaxWaitTimeInSeconds, " + std::to_string(seconds) +
                                            " s, have passed since the job's creation.");
    }
    if (!state_.attempt_started) return;
    if (state_.kill_at && now_ >= *state_.kill_at) return kill();
    if (state_.stop == StopReason::kNone && billable(state_, now_) >= state_.max_runtime) {
      const auto seconds = std::chrono::floor<std::chrono::seconds>(state_.max_runtime).count();
      stop(StopReason::kMaxRuntime,
           "The job ran for MaxRuntimeInSeconds, " + std::to_string(seconds) + " s.");
    }
  }

  /// How an attempt that is gone counts. First cause first.
  void settle(const AttemptEnded& event) {
    const bool killed = state_.killed;
    close_attempt();
    if (event.lost_rank && finished(v1::FinishRequest::FAILED)) {
      // The others' failures followed from the loss.
      if (state_.stop == StopReason::kNone) {
        state_.failure.clear();
        return interrupted(reason_of(event));
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
      return interrupted(state_.interruption.empty()
                             ? "The ranks were told to stop by another than the coordinator."
                             : state_.interruption);
    }
    interrupted(reason_of(event));
  }

  static std::string reason_of(const AttemptEnded& event) {
    if (!event.reason.empty()) return event.reason;
    if (event.lost_rank) return "rank " + std::to_string(*event.lost_rank) + " died";
    return "mpirun ended before all ranks were done";
  }

  void finish_stopped(bool killed) {
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

  Secondary::Value stopped_as() const {
    if (state_.stop == StopReason::kMaxRuntime) return Secondary::MaxRuntimeExceeded;
    if (state_.stop == StopReason::kMaxWait) return Secondary::MaxWaitTimeExceeded;
    return Secondary::Stopped;
  }

  /// The attempt is lost; another may follow.
  void interrupted(std::string reason) {
    if (!state_.interruption.empty() && reason != state_.interruption) {
      reason = state_.interruption + "; then " + reason;
    }
    if (!state_.spot_interruption) {
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

  void stop(StopReason reason, const std::string& message) {
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

  /// Its ranks have the failure grace to end by themselves; the job is Failed when they are gone.
  void fail_attempt(const std::string& reason) {
    if (!state_.failure.empty()) return;  // the first cause stays
    set_failure(reason);
    kill_by(now_ + grace_.failure);
    act(Kind::kTellFailure, state_.failure);
  }

  void kill() {
    // Again at each tick until AttemptEnded comes, a grace apart: a signal that was asked for just
    // before a crash of the coordinator may never have been sent.
    state_.killed = true;
    state_.kill_at = now_ + grace_.exit;
    touch();
    act(Kind::kKill);
  }

  void kill_by(WallTime when) {
    if (!state_.kill_at || when < *state_.kill_at) state_.kill_at = when;
    touch();
  }

  void close_attempt() {
    state_.ran = billable(state_, now_);
    state_.attempt_started.reset();
    state_.kill_at.reset();
    state_.killed = false;
  }

  /// Phases only go forward within an attempt, and not once the job is stopping.
  void advance(Secondary::Value to, const std::string& message) {
    if (state_.status != Status::InProgress || state_.secondary >= to) return;
    if (legal_edge(state_.secondary, to)) enter(to, message);
  }

  void finish(Secondary::Value to, std::string message) {
    if (to != Secondary::Completed && to != Secondary::Stopped &&
        to != Secondary::MaxRuntimeExceeded && to != Secondary::MaxWaitTimeExceeded) {
      state_.artifact.clear();
    }
    state_.training_end = now_;
    enter(to, std::move(message));
    state_.transitions.back().end = now_;
    act(Kind::kOver);
  }

  void enter(Secondary::Value to, std::string message) {
    if (!state_.transitions.empty()) state_.transitions.back().end = now_;
    state_.transitions.push_back({to, now_, std::nullopt, std::move(message)});
    state_.secondary = to;
    state_.status = status_of(to);
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
  std::optional<RankOutcome> agreed_outcome() const {
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

  /// False where it says nothing new.
  bool take_loss(int rank, const Loss& loss) {
    if (state_.finished.contains(rank)) return false;
    const auto [known, added] = state_.lost.emplace(rank, loss);
    if (added) return true;
    if (known->second.seen || !loss.seen) return false;
    known->second.what = loss.what;
    known->second.seen = true;
    return true;
  }

  /// When no member is left to say anything, the processes have a while to end; at once where all
  /// are dead.
  void end_when_done() {
    if (!all_done(state_) || finished(v1::FinishRequest::FAILED)) return;
    const bool none = std::none_of(state_.members.begin(), state_.members.end(),
                                   [&](int rank) { return state_.finished.contains(rank); });
    kill_by(none ? now_ : now_ + grace_.exit);
  }

  JobState state_;
  const WallTime now_;
  const Grace& grace_;
  std::vector<Action> actions_;
};

}  // namespace

JobState submitted(int ranks, int retries, std::chrono::milliseconds max_runtime, WallTime now) {
  JobState state;
  state.created = state.modified = now;
  state.ranks = ranks;
  state.retries_left = retries;
  state.max_runtime = max_runtime;
  state.transitions.push_back({Secondary::Pending, now, std::nullopt, "Waiting for free slots."});
  return state;
}

Decision decide(JobState state, const Event& event, WallTime now, const Grace& grace) {
  return Step(std::move(state), now, grace).take(event);
}

std::optional<int> first_pending_loss(const JobState& state) {
  std::optional<int> first;
  for (const int rank : state.members) {
    const auto loss = state.lost.find(rank);
    if (loss == state.lost.end()) continue;
    if (!first || loss->second.at < state.lost.at(*first).at) first = rank;
  }
  return first;
}

bool all_done(const JobState& state) {
  return std::all_of(state.members.begin(), state.members.end(), [&](int rank) {
    return state.finished.contains(rank) || state.lost.contains(rank);
  });
}

std::optional<WallTime> next_tick(const JobState& state) {
  if (state.over()) return std::nullopt;
  std::optional<WallTime> due;
  const auto by = [&](WallTime when) { due = due ? std::min(*due, when) : when; };
  const bool may_stop = state.stop == StopReason::kNone;
  if (may_stop && state.max_wait.count() > 0) by(state.created + state.max_wait);
  if (state.attempt_started && state.kill_at) by(*state.kill_at);
  if (state.attempt_started && may_stop) {
    by(*state.attempt_started + (state.max_runtime - state.ran));
  }
  return due;
}

bool legal_edge(Secondary::Value from, Secondary::Value to) {
  return std::find(std::begin(kEdges), std::end(kEdges), std::pair(from, to)) != std::end(kEdges);
}

Status::Value status_of(Secondary::Value secondary) {
  switch (secondary) {
    case Secondary::Stopping:
      return Status::Stopping;
    case Secondary::Stopped:
    case Secondary::MaxRuntimeExceeded:
    case Secondary::MaxWaitTimeExceeded:
      return Status::Stopped;
    case Secondary::Completed:
      return Status::Completed;
    case Secondary::Failed:
      return Status::Failed;
    default:
      return Status::InProgress;
  }
}

std::chrono::milliseconds billable(const JobState& state, WallTime now) {
  if (!state.attempt_started) return state.ran;
  return state.ran + std::max(std::chrono::milliseconds(0), now - *state.attempt_started);
}

}  // namespace musher

// The rules of a job's life that need no event.
#include <algorithm>
#include <iterator>
#include <utility>

#include "coordinator/lifecycle_step.h"

namespace musher {

namespace {

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
// next attempt, and may begin before it where the job's own instances are started first. A
// restarted coordinator that never got to start mpirun takes Starting or Downloading back to
// Pending.
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

std::optional<int> first_pending_loss(const JobState& state) {
  std::optional<int> first;
  // There may be thousands of members, and this is asked often.
  for (const auto& [rank, loss] : state.lost) {
    if (!state.members.contains(rank)) continue;
    if (!first || loss.at < state.lost.at(*first).at) first = rank;
  }
  return first;
}

bool waits_to_start(const JobState& state) {
  if (state.attempt_started) return false;
  return state.secondary == Secondary::Pending || state.secondary == Secondary::Interrupted ||
         state.secondary == Secondary::Starting;
}

bool is_pending(const JobState& state) {
  return state.secondary == Secondary::Pending || (state.attempt == 0 && waits_to_start(state));
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
  if (may_stop && state.max_pending.count() > 0 && is_pending(state)) {
    by(state.created + state.max_pending);
  }
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

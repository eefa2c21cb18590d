// Ranks that die or hang, and how the others go on without them.

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "coordinator/coordinator.h"
#include "coordinator/hangs.h"
#include "coordinator/history.h"

namespace musher {

namespace {

using Clock = Deadline::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kHangCheck{250};  // at the most often
constexpr int kHangChecksInTimeout = 40;

long long seconds(milliseconds time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

std::set<int> ranks_of(const Generation& generation) {
  std::set<int> ranks;
  for (const Member& member : generation.members) ranks.insert(member.rank);
  return ranks;
}

}  // namespace

v1::RegroupReply Coordinator::regroup(const v1::RegroupRequest& request) {
  v1::RegroupReply reply;
  const v1::RankId& id = request.id();
  const Lock lock(mutex_);
  const JobPtr job = find(id.job());
  Regrouping answer;
  answer.refusal = "the job has no attempt running";
  if (job && job->membership) {
    answer =
        musher::regroup(*job->membership, {id.attempt(), id.generation(), id.rank(), id.token()},
                        {request.members().begin(), request.members().end()});
    if (job->killed && answer.refusal.empty()) answer.refusal = "its attempt is being ended";
  }
  if (!answer.refusal.empty()) {
    logger_->warn("Regroup of job {} attempt {} generation {} rank {} as {} refused: {}", id.job(),
                  id.attempt(), id.generation(), id.rank(), fmt::join(request.members(), ", "),
                  answer.refusal);
    reply.set_stale(true);
    return reply;
  }
  job->ranks[id.rank()].heard = Clock::now();
  if (answer.result == RegroupResult::kNew) {
    log_line(job,
             fmt::format("generation {}: ranks {} go on from step {}{}{}", answer.generation.number,
                         fmt::join(request.members(), ", "), request.step(),
                         request.cause().empty() ? "" : "; ", request.cause()));
    take_generation(job, answer, request.cause());
  }
  const Generation& present = *job->membership->generation;
  reply.set_generation(present.number);
  for (const int rank : present.virtual_worker_rank) reply.add_virtual_worker_rank(rank);
  return reply;
}

/// Journals a generation, then acts on it.
void Coordinator::take_generation(const JobPtr& job, const Regrouping& answer,
                                  const std::string& cause) {
  const std::uint64_t attempt = job->membership->attempt;
  const int leader = leader_of(job->membership->generation);
  Regrouped event{attempt, ranks_of(answer.generation), {}, {}};
  for (const int rank : answer.missing) {
    if (job->state().finished.contains(rank)) continue;
    if (job->leaving.contains(rank) && !job->state().lost.contains(rank)) {
      event.left.insert(rank);
    } else {
      // mpirun's output, or the watch over hangs, may say more, before or after this.
      event.lost[rank] = {wall_now(), cause.empty() ? "is gone" : "is gone: " + cause, false};
    }
  }
  store_.add_generation(job->name(), answer.generation, false);
  if (!event.lost.empty()) ++counts_.recoveries;
  counts_.ranks_lost += event.lost.size();
  for (const int rank : answer.missing) {
    job->left_out[rank] = {job->membership->joined.at(rank), job->ranks[rank].process,
                           Clock::now()};
    job->ranks.erase(rank);
  }
  adopt(*job->membership, answer.generation);
  job->regroup_asked.reset();
  job->leaving.clear();
  for (const int rank : answer.added) {
    drop_newcomer(job->newcomers, rank);
    save_newcomer(job, {job->membership->joined.at(rank), NewcomerRecord::State::kMember});
  }
  // What they were at when they noticed says nothing of now.
  for (auto& [rank, life] : job->ranks) life.activity = v1::ReportRequest::UNKNOWN;
  apply(job, event);
  for (const int rank : answer.added) {
    const auto dead = job->given_up.find(rank);
    if (dead != job->given_up.end()) lose_rank(job, rank, dead->second);
  }
  // Only the rank that started a newcomer can bring it in.
  if (leader != leader_of(job->membership->generation)) drop_newcomers(job, 0);
  release_slots(job);
  if (options_.ranks_are_here && all_done(job->state())) job->over_soon = true;
  notify();
}

/// Of an attempt that ran when the last coordinator ended.
void Coordinator::restore_membership(const JobPtr& job, const AttemptRecord& record) {
  const JobState& state = job->state();
  const int world = state.members.empty() ? state.ranks : static_cast<int>(state.members.size());
  job->membership = AttemptMembership{record.attempt, record.token, world,
                                      static_cast<int>(job->job.hyperparameters.virtual_workers)};
  AttemptMembership& membership = *job->membership;
  int& next = job->newcomers.next_rank = world;
  const auto used = [&](int rank) { next = std::max(next, rank + 1); };
  for (const auto& [rank, outcome] : state.finished) used(rank);
  for (const auto& [rank, loss] : state.lost) used(rank);
  auto generation = store_.newest_generation(job->name());
  if (!generation || generation->attempt != record.attempt) return;
  adopt(membership, *generation);
  for (const Member& member : generation->members) {
    used(member.rank);
    RankLife& life = job->ranks[member.rank];
    life.heard = job->started;
    life.joined = true;
    life.process = process_of(*job, member);
  }
  for (const NewcomerRecord& newcomer : store_.newcomers(job->name(), record.attempt)) {
    const int rank = newcomer.member.rank;
    used(rank);
    job->newcomer_records[rank] = newcomer;
    if (newcomer.state == NewcomerRecord::State::kMember || is_member(*generation, rank)) continue;
    if (newcomer.state == NewcomerRecord::State::kGivenUp) {
      if (newcomer.member.pid == 0) continue;
      membership.given_up[rank] = newcomer.member;
      job->given_up[rank] = "is gone";
      continue;
    }
    job->newcomers.asked_for[rank] = job->started;
    if (newcomer.state == NewcomerRecord::State::kAskedFor) {
      membership.awaited.insert(rank);
      continue;
    }
    membership.newcomers[rank] = newcomer.member;
    RankLife& life = job->ranks[rank];
    life.heard = job->started;
    life.joined = true;
    life.process = process_of(*job, newcomer.member);
  }
  // The last coordinator may have been killed between the journal and what followed from it.
  if (state.members == ranks_of(*generation)) return;
  Regrouped event{record.attempt, ranks_of(*generation), {}, {}};
  for (const int rank : state.members) {
    const bool known = event.members.contains(rank) || state.finished.contains(rank);
    if (!known) event.lost[rank] = {wall_now(), "is gone", false};
  }
  apply(job, event);
}

/// The leader has committed a step in the present generation: the history gets its line.
void Coordinator::tell_recovery(const JobPtr& job, const v1::Recovery& recovery) {
  const Generation& present = *job->membership->generation;
  const auto told = store_.newest_told_generation(job->name());
  if (recovery.generation() != present.number || !told || told->number >= present.number) return;
  const Change change = change_between(*told, present, job->state());
  const std::string line = recovery_line(change, present.members.size(), recovery);
  store_.tell_generation(job->name(), present.number, {wall_now(), line});
  job->notices.push_back(line);
  log_line(job, line);
  job->newcomers.failures = 0;
}

/// What ends before the recovery was told is in the history all the same.
void Coordinator::tell_rest(const JobPtr& job) {
  if (!job->membership || !job->membership->generation) return;
  const Generation& present = *job->membership->generation;
  const auto told = store_.newest_told_generation(job->name());
  if (!told || told->number >= present.number) return;
  const std::string line = change_between(*told, present, job->state()).text +
                           "; the others had not reported a step since";
  store_.tell_generation(job->name(), present.number, {wall_now(), line});
  job->notices.push_back(line);
  log_line(job, line);
}

/// A rank is gone, or hangs and is about to be killed, before its Finish. Once a generation stands
/// the others go on without it; before that, or where it is `fatal`, the attempt ends.
void Coordinator::lose_rank(const JobPtr& job, int rank, const std::string& what, bool fatal) {
  if (job->killed) return;
  const auto known = job->state().lost.find(rank);
  const bool is_lost = known != job->state().lost.end();
  if (is_lost ? known->second.seen : !job->state().members.contains(rank)) return;
  apply(job, RankLost{job->membership->attempt, rank, what});
  const bool member = job->state().members.contains(rank);  // else the others have gone on already
  fatal = member && (fatal || !job->membership->generation || !job->failure.empty());
  log_line(job, fmt::format("rank {} {}{}", rank, what, fatal ? "; the attempt ends" : ""));
  if (fatal) kill_attempt(job);
}

void Coordinator::rank_ended(const std::string& name, std::uint64_t attempt,
                             const RankExit& exit) try {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job || !job->membership || job->state().attempt != attempt) return;
  const AttemptMembership& membership = *job->membership;
  int rank = exit.rank;
  if (exit.job > 1) {
    // One that was started later: a number of its own in mpirun's eyes.
    const int spawn = exit.job - 1;
    const auto newcomer = newcomer_of(job->newcomer_records, spawn, exit.pid);
    if (!newcomer) return;
    rank = *newcomer;
    job->newcomer_records[rank].spawn = spawn;
    if (job->newcomers.asked_for.contains(rank)) return give_up_newcomer(job, rank, exit.text());
  }
  const JobState& state = job->state();
  if (state.finished.contains(rank)) return;
  if (state.stop != StopReason::kNone && !membership.generation) return;  // by our SIGTERM
  // After a rank has said what failed, the others' own errors are symptoms; SIGKILL is none.
  const bool said = std::any_of(state.finished.begin(), state.finished.end(), [](const auto& done) {
    return done.second == v1::FinishRequest::FAILED;
  });
  const bool symptom = exit.signal.empty() || exit.signal.starts_with("Aborted") ||
                       exit.signal.starts_with("Terminated");
  if ((said || !job->failure.empty()) && symptom) return;
  lose_rank(job, rank, exit.text());
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
}

void Coordinator::watch_joins(const JobPtr& job, Clock::time_point now) {
  if (now - job->started < options_.join_limit) return;
  const AttemptMembership& membership = *job->membership;
  for (int rank = 0; rank < membership.world_size; ++rank) {
    if (membership.joined.contains(rank)) continue;
    return lose_rank(job, rank,
                     fmt::format("did not join within {} s", seconds(options_.join_limit)));
  }
}

/// Looks for ranks that hang, and for what was to follow on a loss and did not.
void Coordinator::watch_ranks(const JobPtr& job) {
  if (job->killed) return;
  const auto now = Clock::now();
  if (!job->membership->generation) return watch_joins(job, now);
  const JobState& state = job->state();
  const milliseconds limit = options_.regroup_limit;
  const auto lost = first_pending_loss(state);
  const bool overdue = job->regroup_asked && now - *job->regroup_asked >= limit;
  if (overdue || (lost && !all_done(state) && wall_now() - state.lost.at(*lost).at >= limit)) {
    job->why_killed = fmt::format("{}the other ranks did not go on within {} s",
                                  lost ? "" : "a collective hung, and ", seconds(limit));
    log_line(job, job->why_killed + "; the attempt ends");
    return kill_attempt(job);
  }
  watch_newcomers(job, now);
  end_left_out(job, now);
  // Not with each report that changes something: there may be thousands of ranks.
  const std::chrono::seconds patience(job->job.hyperparameters.heartbeat_timeout_seconds);
  const auto pause = std::clamp<milliseconds>(patience / kHangChecksInTimeout, kHangCheck,
                                              std::chrono::seconds(1));
  if (now - job->ranks_watched < pause) return;
  job->ranks_watched = now;
  look_for_hang(job, now);
}

void Coordinator::look_for_hang(const JobPtr& job, Clock::time_point now) {
  const JobState& state = job->state();
  std::vector<RankSign> signs;
  for (const Member& member : job->membership->generation->members) {
    if (state.finished.contains(member.rank) || state.lost.contains(member.rank)) continue;
    const RankLife& life = job->ranks[member.rank];
    if (!life.joined) continue;
    signs.push_back(
        {member.rank, life.heard, life.phase, life.step, life.activity, life.activity_for});
  }
  const std::chrono::seconds patience(job->job.hyperparameters.heartbeat_timeout_seconds);
  const Hang hang = find_hang(signs, patience, now);
  if (hang.kind == Hang::Kind::kRank) {
    const bool killable = can_kill(job, hang.rank);
    lose_rank(job, hang.rank, hang.what, !killable);
    if (killable) kill_rank(job, hang.rank);
  } else if (hang.kind == Hang::Kind::kCollective && !job->regroup_asked) {
    job->regroup_asked = now;
    log_line(job, hang.what + "; they are told to give the collective up");
  }
}

}  // namespace musher

// How many ranks a running job has, and how it comes to as many as are wanted.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

using Clock = Deadline::Clock;

/// Whether the job ends, so that there is no point in ranks that come or go.
bool ends(const JobState& state) {
  const bool said = std::any_of(state.finished.begin(), state.finished.end(), [](const auto& done) {
    return done.second != v1::FinishRequest::LEFT;
  });
  return said || state.status != Status::InProgress || state.secondary == Secondary::Uploading ||
         !state.failure.empty();
}

}  // namespace

/// Asks for newcomers, or for members to leave, until the generation has as many ranks as wanted.
void Coordinator::keep_size(const JobPtr& job) {
  if (options_.ranks_are_here || !job->membership || !job->membership->generation || job->killed) {
    return;
  }
  if (ends(job->state())) {
    job->leaving.clear();
    return drop_newcomers(job, 0);
  }
  // The others have to find together first.
  if (job->state().secondary != Secondary::Training || first_pending_loss(job->state())) return;
  const auto& members = job->membership->generation->members;
  const int wanted = job->state().ranks;
  const int present = static_cast<int>(members.size());
  job->leaving.clear();
  for (int i = wanted; i < present; ++i) job->leaving.insert(members[i].rank);
  drop_newcomers(job, static_cast<std::size_t>(std::max(0, wanted - present)));
  // Between hosts MPI_Comm_spawn can't be relied on (Open MPI 5.0.11, PRRTE 3.0): the slot of who
  // died is never free again ("already filled"), a daemon whose last rank died has forgotten the
  // job and refuses the newcomer, and others were seen to end with a spawn, and the attempt with
  // them.
  if (job->over_hosts) return;
  for (const int rank : ask_for_newcomers(job->newcomers, wanted, present, Clock::now())) {
    save_newcomer(job, {{rank, "", 0}, NewcomerRecord::State::kAskedFor});
    job->membership->awaited.insert(rank);
    log_line(job, fmt::format("rank {} is to be started: {} of {} ranks are there", rank, present,
                              wanted));
  }
}

/// It ended, or took too long; another is tried after a while.
void Coordinator::give_up_newcomer(const JobPtr& job, int rank, const std::string& why) {
  const auto now = Clock::now();
  newcomer_failed(job->newcomers, rank, now);
  const auto pause = newcomer_backoff(job->newcomers.failures);
  const std::string text =
      fmt::format("rank {}, started to replace one that is gone, {}; another is tried in {} s",
                  rank, why, std::chrono::duration_cast<std::chrono::seconds>(pause).count());
  if (job->newcomers.failures == 1) {
    add_notice(job, text);
  } else {
    log_line(job, text);
  }
  end_newcomer(job, rank, why);
}

void Coordinator::save_newcomer(const JobPtr& job, const NewcomerRecord& newcomer) {
  job->newcomer_records[newcomer.member.rank] = newcomer;
  store_.save_newcomer(job->name(), job->membership->attempt, newcomer);
}

/// Its number is not given again; its process is killed where it has joined.
void Coordinator::end_newcomer(const JobPtr& job, int rank, const std::string& why) {
  AttemptMembership& membership = *job->membership;
  kill_rank(job, rank);
  job->ranks.erase(rank);
  membership.awaited.erase(rank);
  NewcomerRecord record = job->newcomer_records[rank];
  record.state = NewcomerRecord::State::kGivenUp;
  save_newcomer(job, record);
  const auto joined = membership.newcomers.find(rank);
  if (joined == membership.newcomers.end()) return;
  membership.given_up.insert(membership.newcomers.extract(joined));
  job->given_up[rank] = why;
}

/// Lets all but the first `keep` newcomers go.
void Coordinator::drop_newcomers(const JobPtr& job, std::size_t keep) {
  while (job->newcomers.asked_for.size() > keep) {
    const int rank = job->newcomers.asked_for.rbegin()->first;
    drop_newcomer(job->newcomers, rank);
    end_newcomer(job, rank, "was not wanted any more, and killed");
    log_line(job, fmt::format("rank {} is not waited for any more", rank));
  }
}

void Coordinator::resize(const std::string& name, int ranks) {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job) store_.get(name);  // kNotFound, or it is over
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    throw Error(code, fmt::format("job {} can't have {} ranks: {}", name, ranks, why));
  };
  if (!job) refuse(ErrorCode::kFailedPrecondition, "it is over");
  if (ranks < 1) refuse(ErrorCode::kInvalidArgument, "it needs at least 1");
  const auto most = job->job.hyperparameters.virtual_workers;
  if (ranks > static_cast<int>(most)) {
    refuse(ErrorCode::kInvalidArgument,
           fmt::format("HyperParameters.virtual_workers is {}, and each rank needs one", most));
  }
  if (ends(job->state())) refuse(ErrorCode::kFailedPrecondition, "it is ending");
  check_room(*job, ranks);
  if (job->state().attempt_started) {
    const int more = ranks - total_slots(job->placement);
    if (more > 0 && job->over_hosts) {
      refuse(ErrorCode::kFailedPrecondition,
             "it runs on several hosts, and its mpirun knows no more slots than it started with");
    }
    const auto running = running_jobs();
    const auto placement = grown(job->placement, more, running, usable_hosts());
    if (!placement) {
      refuse(ErrorCode::kResourceExhausted, fmt::format("that needs {} more slots, and {} are free",
                                                        more, free_slots(running, usable_hosts())));
    }
    // The slots first: a crash in between leaves the job with too many, which it gives back.
    save_placement(job, *placement);
  }
  if (job->slurm && !job->state().attempt_started) withdraw_from_slurm(job);
  apply(job, Resized{ranks});
  log_line(job, fmt::format("{} ranks are wanted", ranks));
  job->told_too_large = false;
  schedule_wanted_ = true;
  keep_size(job);
  release_slots(job);
  notify();
}

void Coordinator::watch_newcomers(const JobPtr& job, Clock::time_point now) {
  const auto seconds = [](auto time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time).count();
  };
  const std::chrono::seconds patience(job->job.hyperparameters.heartbeat_timeout_seconds);
  const auto asked_for = job->newcomers.asked_for;
  for (const auto& [rank, since] : asked_for) {
    if (!job->membership->newcomers.contains(rank)) {
      if (now - since < options_.join_limit) continue;
      give_up_newcomer(job, rank,
                       fmt::format("did not join within {} s", seconds(options_.join_limit)));
    } else if (const RankLife& life = job->ranks[rank];
               life.joined && now - life.heard >= patience) {
      give_up_newcomer(job, rank, fmt::format("hung: no heartbeat for {} s", patience.count()));
    }
  }
}

}  // namespace musher

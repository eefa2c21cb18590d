// How many ranks a running job has, and how it comes to as many as are wanted.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

using Clock = Deadline::Clock;

/// Whether there is a point in ranks that come or go: not once the job ends, or while the others
/// still have to find together.
bool may_change_size(const ActiveJob& job) {
  const JobState& state = job.record.state;
  const bool ends = std::any_of(state.finished.begin(), state.finished.end(), [](const auto& done) {
    return done.second != v1::FinishRequest::LEFT;
  });
  return job.membership && job.membership->generation && !job.killed && !ends &&
         state.status == Status::InProgress && state.secondary == Secondary::Training &&
         state.failure.empty() && !first_pending_loss(state);
}

}  // namespace

/// Asks for newcomers, or for members to leave, until the generation has as many ranks as wanted.
void Coordinator::keep_size(const JobPtr& job) {
  if (options_.ranks_are_here || !may_change_size(*job)) return;
  const auto& members = job->membership->generation->members;
  const int wanted = job->state().ranks;
  const int present = static_cast<int>(members.size());
  job->leaving.clear();
  for (int i = wanted; i < present; ++i) job->leaving.insert(members[i].rank);
  drop_newcomers(job, static_cast<std::size_t>(std::max(0, wanted - present)));
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
  end_newcomer(job, rank);
}

void Coordinator::save_newcomer(const JobPtr& job, const NewcomerRecord& newcomer) {
  job->newcomer_records[newcomer.member.rank] = newcomer;
  store_.save_newcomer(job->name(), job->membership->attempt, newcomer);
}

/// Its number is not given again; its process is killed where it has joined.
void Coordinator::end_newcomer(const JobPtr& job, int rank) {
  kill_rank(job, rank);
  job->ranks.erase(rank);
  job->membership->awaited.erase(rank);
  job->membership->newcomers.erase(rank);
  NewcomerRecord record = job->newcomer_records[rank];
  record.state = NewcomerRecord::State::kOver;
  save_newcomer(job, record);
}

/// Lets all but the first `keep` newcomers go.
void Coordinator::drop_newcomers(const JobPtr& job, std::size_t keep) {
  while (job->newcomers.asked_for.size() > keep) {
    const int rank = job->newcomers.asked_for.rbegin()->first;
    drop_newcomer(job->newcomers, rank);
    end_newcomer(job, rank);
    log_line(job, fmt::format("rank {} is not waited for any more", rank));
  }
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

// An attempt of a job: from its token to the last of its processes.

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <unistd.h>

#include "common/checksum.h"
#include "coordinator/checkpoints.h"
#include "coordinator/coordinator.h"
#include "coordinator/host_agent.h"
#include "coordinator/random_token.h"
#include "job/input_mode.h"
#include "job/metric_rate.h"
#include "launch/mpirun.h"
#include "rpc/tls.h"
#include "storage/object_store.h"

namespace musher {

namespace {

/// That the output's bucket is missing should be known before the training, not after it. Who may
/// write there need not be allowed to list.
void check_output(const Job& job, const StorageConfig& storage) {
  try {
    open_store(job.output, storage)->list(job.name + "/output", [](const auto&) {});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kPermissionDenied) {
      throw Error(error.code(), std::string("OutputDataConfig.S3OutputPath: ") + error.what());
    }
  }
}

/// What earlier attempts, ended by a crash, left half-written. That it can't be removed is no
/// reason to fail.
void sweep(const Job& job, const StorageConfig& storage,
           const std::function<void(const std::string&)>& notice) try {
  if (job.checkpoints) {
    for (const std::string& folder :
         sweep_checkpoints(*open_store(*job.checkpoints, storage), job.name)) {
      notice(
          fmt::format("removed the unfinished checkpoint {}", job.checkpoints->join(folder).str()));
    }
  }
  open_store(job.output, storage)->remove_unfinished(job.name + "/output");
} catch (const Error& error) {
  notice(fmt::format("what an earlier attempt left unfinished stays: {}", error.what()));
}

/// `nobody_writes`: no rank can have begun a checkpoint of this attempt.
Preparation make_preparation(const Job& job, const std::shared_ptr<const JobChannels>& channels,
                             StorageConfig storage, const std::filesystem::path& folder,
                             const std::filesystem::path& cache, bool nobody_writes) {
  storage.retry_limit = std::chrono::seconds(job.hyperparameters.storage_retry_seconds);
  Preparation result;
  try {
    const auto notice = [&](const std::string& text) { result.notices.push_back(text); };
    result.channels = channels ? channels
                               : std::make_shared<const JobChannels>(
                                     prepare_channels(job, storage, folder, cache, notice));
    check_output(job, storage);
    if (job.checkpoints) {
      const auto store = open_store(*job.checkpoints, storage);
      const CheckpointSearch search = find_checkpoints(*store);
      for (const std::string& text : search.notices) notice(text);
      for (const CheckpointFound& found : search.found) {
        result.resume_candidates.push_back(job.checkpoints->join(found.folder).str());
      }
    }
    if (nobody_writes) sweep(job, storage, notice);
  } catch (const std::exception& error) {
    result.failure = error.what();
  }
  return result;
}

}  // namespace

std::filesystem::path Coordinator::job_folder(const std::string& name) const {
  return options_.state / "jobs" / name;
}

std::filesystem::path Coordinator::attempt_folder(const ActiveJob& job) const {
  return job_folder(job.name()) / fmt::format("attempt-{}", job.record.state.attempt);
}

/// A short name: it is part of others, whose length is limited.
std::filesystem::path Coordinator::session_folder(const ActiveJob& job) const {
  if (job.over_hosts) return staged_folder(job);
  return options_.scratch / hex64(hash64(attempt_folder(job).native()));
}

void Coordinator::start_attempt(const JobPtr& job) {
  AttemptRecord record;
  if (job->slurm) {
    record = store_.newest_attempt(job->name()).value();  // from when it was submitted
  } else {
    record.attempt = job->state().attempt;
    record.token = random_token();
    record.placement = job->placement;
    record.started = wall_now();
    store_.save_attempt(job->name(), record);
  }
  job->membership = AttemptMembership{record.attempt, record.token, job->state().ranks,
                                      static_cast<int>(job->job.hyperparameters.virtual_workers)};
  job->newcomers = {};
  job->newcomer_records.clear();
  job->given_up.clear();
  job->left_out.clear();
  job->newcomers.next_rank = job->state().ranks;
  job->leaving.clear();
  job->regroup_asked.reset();
  job->ranks.clear();
  job->started = Deadline::Clock::now();
  job->killed = false;
  job->why_killed.clear();
  job->failure.clear();
  job->prepared = false;
  job->host_trouble.clear();
  job->over_hosts = any_remote(job->placement);
  job->host_names.clear();
  ++counts_.attempts;
  prepare(job);
  if (options_.ranks_are_here) return;
  if (job->slurm) return watch_in_slurm(job, {});
  try {
    if (job->over_hosts) return stage(job, std::move(record));
    MpirunOptions mpirun;
    mpirun.cores = options_.cores;
    mpirun.ranks_per_host = job->state().ranks;
    mpirun.coordinator = Endpoint{address_, options_.worker_tls}.text();
    mpirun.session_folder = session_folder(*job);
    std::filesystem::create_directories(attempt_folder(*job));
    write_private_file(token_file(*job), record.token + "\n");
    spawn(job, std::move(record), std::move(mpirun));
  } catch (const std::exception& error) {
    apply(job, JobFailed{error.what()});
    end_attempt(job);
  }
}

/// `mpirun`: what depends on where the ranks run, the token's file included; the rest is filled in
/// here.
MpirunOptions Coordinator::mpirun_of(const ActiveJob& job, std::uint64_t attempt,
                                     MpirunOptions mpirun) const {
  mpirun.mpirun = options_.mpirun;
  mpirun.trainer = options_.trainer;
  mpirun.ranks = job.state().ranks;
  mpirun.as_root = ::geteuid() == 0;
  mpirun.environment = job.job.environment;
  mpirun.job = job.name();
  mpirun.attempt = attempt;
  mpirun.trainer_arguments = options_.trainer_arguments;
  for (const std::string& channel : file_mode_channels(job.record.request)) {
    mpirun.trainer_arguments.insert(mpirun.trainer_arguments.end(), {"--file-channel", channel});
  }
  if (const auto steps = metrics_every_steps(job.record.request); steps > 0) {
    mpirun.trainer_arguments.insert(mpirun.trainer_arguments.end(),
                                    {"--metrics-every", std::to_string(steps)});
  }
  return mpirun;
}

void Coordinator::spawn(const JobPtr& job, AttemptRecord record, MpirunOptions mpirun) {
  const std::filesystem::path folder = attempt_folder(*job);
  std::filesystem::create_directories(folder);
  mpirun.token_file = token_file(*job);
  mpirun = mpirun_of(*job, record.attempt, std::move(mpirun));
  // Other machines do not have the folder: what their ranks print goes through mpirun.
  if (!job->over_hosts) mpirun.output_folder = folder;
  make_private_folder(options_.scratch);
  make_private_folder(mpirun.session_folder);
  SpawnOptions options;
  options.argv = mpirun_argv(mpirun);
  options.environment = job->job.environment;
  options.environment.insert(mpirun.exported.begin(), mpirun.exported.end());
  options.output = folder / "output";
  options.die_with_parent = options_.die_together;
  options.deaf_to_sigterm = true;
  Process process = Process::spawn(options);
  record.pid = process.identity().pid;
  record.pid_start = process.identity().start;
  record.boot_id = process.identity().boot_id;
  store_.save_attempt(job->name(), record);
  watch(job, local_processes(std::move(process), token_file(*job), session_folder(*job)), {});
}

/// Looks at an mpirun and hands on what it and its ranks say, but for what is `logged` already.
void Coordinator::watch(const JobPtr& job, std::shared_ptr<AttemptProcesses> processes,
                        SourceEnds logged) {
  const std::filesystem::path folder = job->slurm ? staged_folder(*job) : attempt_folder(*job);
  const std::string name = job->name();
  const std::uint64_t attempt = job->state().attempt;
  AttemptListener listener;
  listener.output = [this, log = job->log, metrics = job->log_metrics, name,
                     attempt](const std::vector<OutputLine>& lines) {
    std::vector<LogEntry> entries;
    for (const OutputLine& line : lines) {
      const auto kind = line.line.kind;
      if (kind != MpirunLine::Kind::kRank && kind != MpirunLine::Kind::kMpirun) continue;
      entries.push_back({wall_now().time_since_epoch().count(), line.line.rank, line.line.error,
                         line.line.text, attempt, line.end, line.own});
    }
    log->append(entries);
    take_output(name, attempt, entries, *metrics);
  };
  listener.rank_ended = [this, name, attempt](const RankExit& exit) {
    rank_ended(name, attempt, exit);
  };
  if (job->over_hosts && !job->slurm) {
    listener.clean_up = [this, name, attempt, access = access_of(*job), hosts = hosts_of(*job),
                         staged = staged_folder(*job)] {
      leave_hosts(name, attempt, access, hosts, staged);
    };
  }
  listener.told_to_end = [this, name, attempt] { mpirun_told_to_end(name, attempt); };
  listener.ended = [this, name, attempt] { attempt_ended(name, attempt); };
  job->attempt =
      std::make_shared<Attempt>(std::move(processes), Attempt::Paths{folder, folder / "output"},
                                std::move(logged), std::move(listener));
}

/// Of a job that ran when the last coordinator ended.
void Coordinator::adopt_attempt(const JobPtr& job) {
  const auto record = store_.newest_attempt(job->name());
  const bool known = record && record->attempt == job->state().attempt;
  const bool in_slurm = slurm_ && known && record->pid == 0;
  if (!known || (record->pid == 0 && !in_slurm)) {
    // The last coordinator was killed while it started mpirun.
    signal_by_argument(attempt_folder(*job) / "token", SIGKILL);
    apply(job, CoordinatorRestarted{false, false});
    return;
  }
  std::optional<Process> process =
      Process::find({static_cast<pid_t>(record->pid), record->pid_start, record->boot_id});
  const bool alive = process.has_value();
  job->placement = record->placement;
  job->started = Deadline::Clock::now();
  recall_hosts(job);
  restore_membership(job, *record);
  if (in_slurm) {
    job->slurm = SlurmBatch{
        .name = slurm_name(job->name(), *record), .handed_in = true, .found_again = true};
  }
  release_slots(job);
  prepare(job);
  if (in_slurm) return watch_in_slurm(job, job->log->source_ends(record->attempt));
  // Of an mpirun that is gone the output still tells how its ranks ended; AttemptEnded follows.
  watch(job, local_processes(std::move(process), token_file(*job), session_folder(*job)),
        job->log->source_ends(record->attempt));
  if (alive) apply(job, CoordinatorRestarted{true, true});
}

void Coordinator::retire(Helper& helper) {
  if (helper.thread) helpers_.push_back(std::exchange(helper, {}));
}

/// Lists the data and looks for a checkpoint, while the processes start.
void Coordinator::prepare(const JobPtr& job) {
  retire(job->preparing);
  const auto done = std::make_shared<std::atomic<bool>>(false);
  auto work = [this, plan = job->job, channels = job->channels, name = job->name(),
               attempt = job->state().attempt, folder = job_folder(job->name()),
               nobody_writes = !job->membership->generation, done] {
    prepared(name, attempt,
             make_preparation(plan, channels, options_.storage, folder, options_.state / "cache",
                              nobody_writes));
    *done = true;
  };
  job->preparing = {std::make_shared<Thread>("prepare", std::move(work)), done};
}

void Coordinator::prepared(const std::string& name, std::uint64_t attempt,
                           Preparation preparation) try {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job || !job->membership || job->state().attempt != attempt) return;
  for (const std::string& text : preparation.notices) add_notice(job, text);
  if (!preparation.failure.empty()) {
    apply(job, JobFailed{preparation.failure});
    kill_attempt(job);  // the ranks wait for an answer to Join: they have nothing to save
    return;
  }
  job->channels = std::move(preparation.channels);
  job->resume_candidates = std::move(preparation.resume_candidates);
  job->prepared = true;
  notify();
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
}

void Coordinator::attempt_ended(const std::string& name, std::uint64_t attempt) try {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job || job->state().attempt != attempt) return;
  if (job->slurm) {
    std::error_code ignored;
    std::filesystem::remove_all(staged_folder(*job), ignored);
  }
  end_attempt(job);
} catch (const std::exception& error) {
  logger_->error("job {}: {}", name, error.what());
}

/// For the person: the first cause.
std::string Coordinator::end_reason(const JobPtr& job, std::optional<int> lost) {
  std::string reason;
  std::vector<std::string> last;
  if (lost) {
    reason = fmt::format("rank {}", *lost);
    const auto& joined = job->membership->joined;
    if (const auto member = joined.find(*lost); member != joined.end()) {
      reason += " on host " + member->second.host;
    }
    reason += " " + job->state().lost.at(*lost).what;
    if (job->attempt) last = job->attempt->last_errors(*lost);
  } else if (!job->why_killed.empty()) {
    reason = job->why_killed;
  } else if (job->attempt && !job->killed) {
    reason = "mpirun ended before the ranks had finished";
    last = job->attempt->last_errors(-1);
  }
  if (!job->host_trouble.empty()) {
    reason = job->host_trouble + (reason.empty() ? "" : "; " + reason);
  }
  if (!last.empty()) reason += fmt::format(": {}", fmt::join(last, " | "));
  if (lost && !job->why_killed.empty()) reason += "; " + job->why_killed;
  return reason;
}

/// No process of it is left.
void Coordinator::end_attempt(const JobPtr& job) {
  const std::optional<int> lost = first_pending_loss(job->state());
  AttemptEnded event{job->state().attempt, lost, end_reason(job, lost),
                     std::exchange(job->unbegun, false), job->host_trouble};
  tell_rest(job);
  if (job->attempt) retired_.push_back(std::exchange(job->attempt, nullptr));
  retire(job->preparing);
  retire(job->staging);
  job->slurm.reset();
  job->membership.reset();
  job->ending = std::move(event);
  settle_attempt(job);
}

/// Where the store can't be written this throws, and is tried again.
void Coordinator::settle_attempt(const JobPtr& job) {
  if (auto record = store_.newest_attempt(job->name())) {
    record->ended = wall_now();
    store_.save_attempt(job->name(), *record);
  }
  apply(job, *job->ending);
  job->ending.reset();
  schedule_wanted_ = true;
  notify();
}

void Coordinator::kill_attempt(const JobPtr& job) {
  job->killed = true;
  if (job->attempt) {
    job->attempt->kill();
  } else if (job->membership) {
    job->over_soon = true;
    notify();
  }
}

}  // namespace musher

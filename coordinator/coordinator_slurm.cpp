// Attempts that Slurm runs: one batch job each. A job stays Pending, or Interrupted, while its
// batch job waits in Slurm's queue; its attempt begins when Slurm starts that. How it ends is said
// by its ranks, as anywhere; Slurm's word for it adds the reason.

#include <algorithm>

#include <fmt/format.h>

#include "common/checksum.h"
#include "coordinator/coordinator.h"
#include "coordinator/host_agent.h"
#include "coordinator/random_token.h"
#include "coordinator/server.h"
#include "coordinator/slurm_batch.h"
#include "coordinator/state_mark.h"
#include "rpc/tls.h"

namespace musher {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Beyond what the coordinator itself gives an attempt: Slurm's warning may come a minute early.
constexpr seconds kLimitMargin{60};
constexpr seconds kLongestWarning{65'535};

milliseconds run_time_left(const JobState& state, WallTime now) {
  return std::max(milliseconds(0), state.max_runtime - billable(state, now));
}

/// Nodes to spread the ranks over: as many as instances were asked for. 0: as Slurm likes.
int nodes_of(const ActiveJob& job) {
  const int instances = std::max(1, job.record.request.resource_config().instance_count());
  const int ranks = job.state().ranks;
  const bool as_asked = !job.record.workers && ranks == job.job.ranks;
  return as_asked && ranks % instances == 0 ? instances : 0;
}

/// `Slurm's job 12`
std::string called(std::int64_t id) {
  return fmt::format("Slurm's job {}", id);
}

}  // namespace

/// Before recover(), whose jobs need it.
void Coordinator::open_slurm() {
  slurm_mark_ = ".musher-" + state_mark(options_.state / "slurm-id", 8) + "-";
  make_private_folder(options_.slurm->folder);
  SlurmListener listener;
  listener.submitted = [this](const SlurmReceipt& receipt) { slurm_submitted(receipt); };
  listener.listed = [this](const std::vector<SlurmJob>& listed) { slurm_listed(listed); };
  listener.away = [this](const std::string& error) { slurm_away(error); };
  slurm_ = std::make_unique<SlurmDesk>(options_.slurm->ask, options_.slurm->interval,
                                       std::move(listener));
}

/// By which an attempt is found again, by whatever coordinator of this state: `dogs.1.musher-…`.
std::string Coordinator::slurm_name(const std::string& job, const AttemptRecord& record) const {
  return fmt::format("{}.{}{}{}", job, record.attempt, slurm_mark_,
                     hex64(hash64("name of " + record.token)));
}

Coordinator::JobPtr Coordinator::find_in_slurm(const std::string& name) const {
  for (const auto& [job_name, job] : jobs_) {
    if (job->slurm && job->slurm->name == name) return job;
  }
  return nullptr;
}

/// The next attempt waits in Slurm's queue from now on.
void Coordinator::submit_to_slurm(const JobPtr& job) {
  AttemptRecord record;
  record.attempt = job->state().attempt + 1;
  record.token = random_token();
  record.placement = job->placement;
  record.started = wall_now();
  store_.save_attempt(job->name(), record);
  job->slurm = SlurmBatch{.name = slurm_name(job->name(), record)};
  hand_in(job, record);
}

void Coordinator::hand_in(const JobPtr& job, const AttemptRecord& record) {
  const SlurmSettings& settings = *options_.slurm;
  const auto whole = [](milliseconds time) { return std::chrono::ceil<seconds>(time); };
  SlurmRequest request;
  request.name = job->slurm->name;
  request.ranks = job->state().ranks;
  request.nodes = nodes_of(*job);
  request.folder = staged_folder(record.token);
  request.limit = whole(run_time_left(job->state(), wall_now()) + options_.grace.stop +
                        options_.grace.exit + kLimitMargin);
  if (settings.time_limit.count() > 0) request.limit = std::min(request.limit, settings.time_limit);
  // Should the coordinator be away then. It must not strike ranks that have only just begun.
  request.warning = std::min(whole(options_.grace.stop), kLongestWarning);
  if (request.warning + kLimitMargin > request.limit / 2) request.warning = seconds(0);
  job->slurm->handed_in = false;
  slurm_->submit(request, slurm_files(*job, record));
}

/// All of the batch job's folder: nothing secret is in its script, or in an argument.
std::map<std::string, std::string> Coordinator::slurm_files(const ActiveJob& job,
                                                            const AttemptRecord& record) const {
  const std::filesystem::path folder = staged_folder(record.token);
  std::map<std::string, std::string> files =
      rank_files(record.token, options_.worker_tls, options_.access);
  MpirunOptions mpirun;
  mpirun.cores = options_.slurm->ask.cpus_per_rank;
  mpirun.coordinator = Endpoint{address_, folder}.text();
  mpirun.token_file = folder / "token";
  // On a node's own disk: what mpirun keeps there is nothing for a shared file system.
  mpirun.session_folder = options_.scratch.parent_path() / folder.filename();
  mpirun.prefix = options_.access.prefix;
  mpirun.exported = options_.access.environment;
  if (files.contains("credentials")) {
    mpirun.exported["AWS_SHARED_CREDENTIALS_FILE"] = folder / "credentials";
  }
  mpirun = mpirun_of(job, record.attempt, std::move(mpirun));
  SlurmBatchPlan plan;
  plan.mpirun = mpirun_argv(mpirun);
  plan.environment = job.job.environment;
  plan.environment.insert(mpirun.exported.begin(), mpirun.exported.end());
  plan.session = mpirun.session_folder;
  plan.coordinator = ListenAddress::parse(address_).host;
  plan.network = options_.access.network;
  files["attempt.json"] = plan.text();
  files["batch.sh"] = batch_script(options_.access.musher, folder);
  return files;
}

/// It is not wanted any more, in Slurm's queue or out of it.
void Coordinator::withdraw_from_slurm(const JobPtr& job) {
  slurm_->cancel(job->slurm->target());
  if (auto record = store_.newest_attempt(job->name())) {
    std::error_code ignored;
    std::filesystem::remove_all(staged_folder(record->token), ignored);
    record->ended = wall_now();
    store_.save_attempt(job->name(), *record);
  }
  job->slurm.reset();
  job->placement.clear();
  schedule_wanted_ = true;
}

/// What the last coordinator submitted for a job that waits.
void Coordinator::recall_from_slurm(const JobPtr& job) {
  const auto record = store_.newest_attempt(job->name());
  if (!record || record->attempt != job->state().attempt + 1 || record->ended) return;
  job->slurm = SlurmBatch{.name = slurm_name(job->name(), *record), .handed_in = true};
  job->placement = record->placement;
}

/// The attempt has begun.
void Coordinator::watch_in_slurm(const JobPtr& job, SourceEnds logged) {
  job->slurm->began = true;
  job->slurm->processes = std::make_shared<SlurmProcesses>(*slurm_, job->slurm->target());
  watch(job, job->slurm->processes, std::move(logged));
}

/// Whether a rank of the attempt that waits in Slurm's queue calls: it waits no more, though nobody
/// has looked yet.
bool Coordinator::begun_by(const JobPtr& job, const v1::RankId& id) {
  if (!job->slurm || job->slurm->began || id.attempt() != job->state().attempt + 1) return false;
  const auto record = store_.newest_attempt(job->name());
  if (!record || record->attempt != id.attempt() || record->token != id.token()) return false;
  apply(job, Scheduled{});
  return job->membership.has_value();
}

void Coordinator::slurm_submitted(const SlurmReceipt& receipt) try {
  const Lock lock(mutex_);
  const JobPtr job = find_in_slurm(receipt.name);
  if (!job) return;  // it was withdrawn, and is cancelled next
  job->slurm->handed_in = true;
  if (receipt.id != 0) {
    job->slurm->id = receipt.id;
    log_line(job, fmt::format("attempt {} is {}", job->state().attempt + 1, called(receipt.id)));
  } else if (receipt.refused) {
    apply(job, JobFailed{"Slurm does not take the job: " + receipt.error});
  } else {
    explain_waiting(job, "Slurm can't be reached: " + receipt.error);
  }
} catch (const std::exception& error) {
  logger_->error("{}: {}", receipt.name, error.what());
}

void Coordinator::slurm_away(const std::string& error) {
  const Lock lock(mutex_);
  if (!std::exchange(slurm_is_away_, true)) logger_->warn("Slurm does not answer: {}", error);
}

void Coordinator::slurm_listed(const std::vector<SlurmJob>& listed) {
  const Lock lock(mutex_);
  if (ending_ || address_.empty()) return;
  if (std::exchange(slurm_is_away_, false)) logger_->info("Slurm answers again");
  std::map<std::string, const SlurmJob*> ours;
  for (const SlurmJob& one : listed) {
    if (one.name.find(slurm_mark_) != std::string::npos) ours[one.name] = &one;
  }
  const std::map<std::string, JobPtr> jobs = jobs_;  // which may end meanwhile
  for (const auto& [name, job] : jobs) {
    if (!job->slurm) continue;
    const auto found = ours.find(job->slurm->name);
    try {
      if (found != ours.end()) {
        take_slurm_state(job, *found->second);
      } else if (job->slurm->handed_in) {
        lose_slurm_job(job);
      }
    } catch (const std::exception& error) {  // the store can't be written, say: again next time
      logger_->error("job {}: {}", name, error.what());
    }
  }
  // Of a coordinator that was killed before it had withdrawn them.
  for (const auto& [name, one] : ours) {
    const SlurmPhase phase = phase_of(one->state);
    if (find_in_slurm(name) || phase == SlurmPhase::kEnding || phase == SlurmPhase::kOver) continue;
    logger_->info("{}, {}, belongs to no job that waits or runs: it is cancelled", called(one->id),
                  name);
    slurm_->cancel({name, one->id});
  }
}

void Coordinator::take_slurm_state(const JobPtr& job, const SlurmJob& found) {
  SlurmBatch& batch = *job->slurm;
  batch.id = found.id;
  batch.handed_in = true;
  if (batch.processes) batch.processes->set_id(found.id);
  const SlurmPhase phase = phase_of(found.state);
  if (!batch.began) {
    if (phase == SlurmPhase::kWaits) {
      return explain_waiting(job, fmt::format("{} waits: {}", called(found.id),
                                              found.reason == "None" ? found.state : found.reason));
    }
    if (phase == SlurmPhase::kEnding) return;  // soon it says how it ended
    if (end_of(found.state) == SlurmEnd::kCancelled) {
      return apply(job, StopRequested{StopReason::kRequested,
                                      called(found.id) + " was cancelled while it waited."});
    }
    apply(job, Scheduled{});
    if (!job->slurm || !job->slurm->began) return;
  }
  switch (phase) {
    case SlurmPhase::kWaits:
      slurm_->cancel(job->slurm->target());
      return end_in_slurm(job, found);
    case SlurmPhase::kRuns:
      if (std::exchange(job->slurm->found_again, false)) {
        apply(job, CoordinatorRestarted{true, true});
      }
      return watch_slurm_limit(job, found);
    case SlurmPhase::kEnding:
      return;
    case SlurmPhase::kOver:
      return end_in_slurm(job, found);
  }
}

/// Slurm forgets jobs that ended long ago (MinJobAge), and all of them where its state is lost.
void Coordinator::lose_slurm_job(const JobPtr& job) {
  if (job->slurm->began) {
    if (job->host_trouble.empty()) job->host_trouble = "Slurm does not know the batch job any more";
    job->slurm->processes->over();
    return;
  }
  const auto record = store_.newest_attempt(job->name());
  explain_waiting(job, "Slurm does not have the batch job: it is submitted again");
  hand_in(job, record.value());
}

/// Each reason once in the history.
void Coordinator::explain_waiting(const JobPtr& job, const std::string& message) {
  if (std::exchange(job->slurm->waits_for, message) == message) return;
  apply(job, WaitingExplained{message});
  if (std::find(job->notices.begin(), job->notices.end(), message) == job->notices.end()) {
    add_notice(job, message);
  }
}

/// Whoever set it: the ranks save what they have before it strikes.
void Coordinator::watch_slurm_limit(const JobPtr& job, const SlurmJob& found) {
  const JobState& state = job->state();
  const milliseconds needed = options_.grace.stop + options_.grace.exit;
  if (!found.left || *found.left > needed || state.stop != StopReason::kNone) return;
  const std::string text =
      fmt::format("the time limit of {} ends in {} s", called(found.id), found.left->count());
  const bool goes_on = options_.slurm->time_limit.count() > 0 && job->job.checkpoints &&
                       run_time_left(state, wall_now()) > *found.left;
  if (!goes_on) return apply(job, StopRequested{StopReason::kMaxRuntime, text});
  // Ranks that have not joined are not there to be told.
  if (!state.interruption.empty() || !job->membership || !job->membership->generation) return;
  apply(job, InterruptionNoticed{state.attempt, text, true});
  job->attempt->ask_to_stop();
}

/// What the ranks have said so far is all that they say. What befell the nodes is the cause also
/// where the coordinator has ended the attempt since: it may have seen only the ranks' deaths.
void Coordinator::end_in_slurm(const JobPtr& job, const SlurmJob& found) {
  const auto processes = job->slurm->processes;
  const SlurmEnd end = end_of(found.state);
  if (end == SlurmEnd::kTaken) {
    job->unbegun = true;
    job->host_trouble =
        fmt::format("Slurm took the nodes of its job {} back: {}", found.id, found.state);
  } else if (end == SlurmEnd::kFailed) {
    job->host_trouble =
        fmt::format("{} on {} ended as {}", called(found.id), found.nodes, found.state);
  } else if (end == SlurmEnd::kCancelled && !job->killed) {
    apply(job, StopRequested{StopReason::kRequested,
                             called(found.id) + " was cancelled, and not by Musher."});
  } else if (end == SlurmEnd::kTimeLimit && !job->killed) {
    apply(job,
          StopRequested{StopReason::kMaxRuntime, called(found.id) + " came to its time limit."});
  }
  processes->over();
}

}  // namespace musher

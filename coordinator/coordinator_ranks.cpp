// What ranks ask for and report.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/checkpoints.h"
#include "coordinator/coordinator.h"

namespace musher {

namespace {

constexpr std::size_t kUndecodableNamed = 20;  // in a job's notices

Caller caller_of(const v1::RankId& id) {
  return {id.attempt(), id.generation(), id.rank(), id.token()};
}

SliceRecord record_of(const v1::SliceReport& report) {
  return {report.checkpoint(), report.step(), report.slice(),    report.slices(),
          report.key(),        report.size(), report.checksum(), report.header()};
}

/// "epoch 3: 6680 of 6680 samples, each once"
std::string epoch_line(const v1::EpochReport& epoch, std::uint64_t whole) {
  std::string line = fmt::format("epoch {}: {} of {} samples, each once", epoch.epoch() + 1,
                                 epoch.samples(), whole);
  if (epoch.undecodable_samples() > 0) {
    line += fmt::format("; {} could not be decoded", epoch.undecodable_samples());
  }
  return line;
}

/// Why the job can't go on after this epoch; empty where it can.
std::string epoch_failure(const v1::EpochReport& epoch, const Digest& whole,
                          double undecodable_limit) {
  Digest expected = whole;
  expected -= Digest{epoch.undecodable_samples(), epoch.undecodable_sum()};
  const Digest got{epoch.samples(), epoch.sum()};
  if (!(got == expected)) {
    return fmt::format(
        "epoch {}: {} of {} samples were trained on and their digest {:016x} is not {:016x}: some "
        "were lost or came twice",
        epoch.epoch() + 1, got.samples, expected.samples, got.sum, expected.sum);
  }
  if (static_cast<double>(epoch.undecodable_samples()) >
      undecodable_limit * static_cast<double>(whole.samples)) {
    return fmt::format(
        "epoch {}: {} of {} samples could not be decoded, more than the share of {} that "
        "HyperParameters.undecodable_limit allows{}",
        epoch.epoch() + 1, epoch.undecodable_samples(), whole.samples, undecodable_limit,
        epoch.undecodable_keys().empty() ? "" : "; one is " + epoch.undecodable_keys(0));
  }
  return "";
}

}  // namespace

/// Where the caller stands; `job` is then its job, with the caller's life noted, unless it is
/// refused, which is a line in the log.
Standing Coordinator::stand(const v1::RankId& id, const char* call, JobPtr& job) {
  job = find(id.job());
  const Standing where = job ? standing(job->membership, caller_of(id)) : Standing::kNothingRuns;
  if (where == Standing::kCurrent || where == Standing::kCatchingUp ||
      where == Standing::kNewcomer) {
    job->ranks[id.rank()].heard = Deadline::Clock::now();
    return where;
  }
  if (where == Standing::kWrongToken) refusals_.count(Refusal::kWrongToken);
  logger_->warn("{} of job {} attempt {} generation {} rank {} refused: {}", call, id.job(),
                id.attempt(), id.generation(), id.rank(), to_string(where));
  job = nullptr;
  return where;
}

/// The job that the caller is a present member of; null for any other.
Coordinator::JobPtr Coordinator::current(const v1::RankId& id, const char* call) {
  JobPtr job;
  return stand(id, call, job) == Standing::kCurrent ? job : nullptr;
}

v1::ReportReply Coordinator::report(const v1::ReportRequest& request) {
  v1::ReportReply reply;
  Lock lock(mutex_);
  JobPtr job;
  Standing where = stand(request.id(), "Report", job);
  if (where == Standing::kCurrent && !request.epochs().empty()) {
    // A digest over millions of samples takes a while: not under the lock.
    const auto channels = job->channels;
    if (!channels) throw Error(ErrorCode::kUnavailable, "the job's manifests are being read");
    lock.unlock();
    for (const auto& epoch : request.epochs()) channels->train->digest(epoch.epoch());
    lock.lock();
    where = stand(request.id(), "Report", job);
  }
  if (!job) {
    reply.set_stale(true);
    return reply;
  }
  ++counts_.heartbeats;
  if (where == Standing::kCurrent) {
    take_report(job, request);
  } else if (where == Standing::kNewcomer) {
    take_signs(job, request);
  }
  reply.set_later(where == Standing::kCatchingUp);
  give_directives(job, request.id().rank(), reply);
  return reply;
}

void Coordinator::give_directives(const JobPtr& job, int rank, v1::ReportReply& reply) {
  reply.set_stop(job->stop);
  reply.set_failure(job->failure);
  if (!job->membership || reply.later()) return;
  reply.set_heartbeat_seconds(heartbeat_of(*job, rank));
  reply.set_regroup(job->regroup_asked.has_value());
  reply.set_leave(job->leaving.contains(rank));
  if (rank != leader_of(job->membership->generation)) return;
  for (const int newcomer : job->membership->awaited) reply.add_start(newcomer);
}

/// What every rank's report has, a newcomer's too.
void Coordinator::take_signs(const JobPtr& job, const v1::ReportRequest& request) {
  RankLife& life = job->ranks[request.id().rank()];
  life.joined = true;
  life.step = request.step();
  life.phase = request.phase();
  life.activity = request.activity();
  life.activity_for =
      std::chrono::milliseconds(static_cast<std::int64_t>(1000 * request.activity_seconds()));
  if (request.has_interruption())
    take_interruption(job, request.id().rank(), request.interruption());
  for (int i = 0; i < request.notices_size(); ++i) {
    const std::int64_t time = i < request.notice_time_ms_size() ? request.notice_time_ms(i) : 0;
    const std::string& text = request.notices(i);
    if (!job->rank_notices.emplace(time, text).second) continue;
    store_.add_notice(job->name(), {WallTime(std::chrono::milliseconds(time)), text});
    job->notices.push_back(text);
    log_line(job, text);
  }
}

void Coordinator::take_report(const JobPtr& job, const v1::ReportRequest& request) {
  take_signs(job, request);
  // All ranks agree on an epoch's digest, and the leader may die before its own report comes.
  for (const auto& epoch : request.epochs()) {
    name_undecodable(job, epoch);
    take_epoch(job, epoch, job->channels->train->digest(epoch.epoch()));
  }
  if (!request.epochs().empty()) notify();
  if (request.id().rank() != leader_of(job->membership->generation)) return;
  if (request.has_recovery()) tell_recovery(job, request.recovery());
  if (!request.metrics().empty()) {
    store_.add_metrics(job->name(), {request.metrics().begin(), request.metrics().end()});
    for (const auto& metric : request.metrics()) {
      if (metric.name().ends_with("_seconds")) continue;  // parts of a step: for the report
      log_line(job, fmt::format("epoch {} step {}: {} {:.6g}", metric.epoch() + 1, metric.step(),
                                metric.name(), metric.value()));
    }
  }
  add_validation_notice(job, request);
  job->latest = request;
  job->latest.clear_metrics();
  job->latest.clear_epochs();
  job->latest.clear_notices();
  job->latest.clear_notice_time_ms();
  job->latest.clear_recovery();
  job->latest.mutable_id()->clear_token();
  store_.save_progress(job->name(), job->latest);
  // A short job may be through between two heartbeats; it trained all the same.
  if (request.phase() == v1::ReportRequest::UPLOADING) {
    apply(job, PhaseReported{request.id().attempt(), v1::ReportRequest::TRAINING});
  }
  apply(job, PhaseReported{request.id().attempt(), request.phase()});
  keep_size(job);
  notify();
}

/// What validation came to, in one line for those who watch.
void Coordinator::add_validation_notice(const JobPtr& job, const v1::ReportRequest& request) {
  std::map<std::uint64_t, std::string> lines;
  std::int64_t time = 0;
  for (const auto& metric : request.metrics()) {
    if (!metric.name().starts_with("validation:")) continue;
    std::string& line = lines[metric.epoch()];
    line += line.empty() ? fmt::format("epoch {}: ", metric.epoch() + 1) : ", ";
    line += fmt::format("{} {:.4f}", metric.name(), metric.value());
    time = metric.time_ms();
  }
  for (const auto& [epoch, line] : lines) {
    if (job->rank_notices.emplace(time, line).second) add_notice(job, line);
  }
}

/// Each rank knows the keys of its own samples alone.
void Coordinator::name_undecodable(const JobPtr& job, const v1::EpochReport& epoch) {
  for (const std::string& key : epoch.undecodable_keys()) {
    if (job->undecodable.size() < kUndecodableNamed && job->undecodable.insert(key).second) {
      add_notice(job, "could not decode " + key);
    }
  }
}

/// Every sample exactly once, or the job fails. What fails it is not recorded: it is told again
/// should this process die before the failure stands.
void Coordinator::take_epoch(const JobPtr& job, const v1::EpochReport& epoch, const Digest& whole) {
  const std::string failure =
      epoch_failure(epoch, whole, job->job.hyperparameters.undecodable_limit);
  if (!failure.empty()) {
    apply(job, JobFailed{failure});
    return;
  }
  const std::string line = epoch_line(epoch, whole.samples);
  if (store_.add_epoch(job->name(), job->state().attempt, epoch, {wall_now(), line})) {
    show_notice(job, line);
  }
}

v1::SliceReply Coordinator::slice(const v1::SliceReport& report) {
  v1::SliceReply reply;
  Lock lock(mutex_);
  const JobPtr job = current(report.id(), "ReportSlice");
  if (!job) {
    reply.set_stale(true);
    return reply;
  }
  if (!job->job.checkpoints) {
    throw Error(ErrorCode::kFailedPrecondition,
                "job " + job->name() + " has no CheckpointConfig, so it has no checkpoints");
  }
  const std::string uri = job->job.checkpoints->join(report.checkpoint()).str();
  const auto committed = store_.checkpoints(job->name());
  if (std::any_of(committed.begin(), committed.end(),
                  [&](const auto& record) { return record.uri == uri; })) {
    reply.set_committed(true);  // this is a repetition: the answer was lost
    return reply;
  }
  const auto slices = store_.add_slice(job->name(), record_of(report));
  if (static_cast<int>(slices.size()) < report.slices()) return reply;
  reply.set_failure(commit(job, slices, lock));
  reply.set_committed(reply.failure().empty());
  return reply;
}

/// Talks to the object store without the lock; doing it twice does no harm. Returns why the store
/// did not take the checkpoint: that is no failure of the call, which would be tried again.
std::string Coordinator::commit(const JobPtr& job, const std::vector<SliceRecord>& slices,
                                Lock& lock) {
  const Uri uri = *job->job.checkpoints;
  const std::string folder = slices.front().checkpoint;
  StorageConfig storage = options_.storage;
  storage.retry_limit = std::chrono::seconds(job->job.hyperparameters.storage_retry_seconds);
  lock.unlock();
  std::unique_ptr<ObjectStore> store;
  try {
    store = open_store(uri, storage);
    commit_checkpoint(*store, slices);
  } catch (const Error& error) {
    lock.lock();
    return error.what();
  }
  lock.lock();
  const std::string where = uri.join(folder).str();
  const std::string line = fmt::format("checkpoint at step {}: {}", slices.front().step, where);
  const WallTime now = wall_now();
  store_.commit_checkpoint(job->name(), folder, {where, slices.front().step, now}, {now, line});
  ++counts_.checkpoints;
  show_notice(job, line);
  Retention retention{job->name(),
                      slices.front().step,
                      static_cast<std::size_t>(job->job.hyperparameters.checkpoints_kept),
                      {}};
  for (const CheckpointRecord& record : store_.checkpoints(job->name())) {
    retention.committed.push_back(record.uri.substr(record.uri.rfind('/') + 1));
  }
  lock.unlock();
  try {
    prune_checkpoints(*store, retention);
  } catch (const Error& error) {
    logger_->warn("job {}: an old checkpoint stays: {}", job->name(), error.what());
  }
  lock.lock();
  return "";
}

v1::FinishReply Coordinator::finish(const v1::FinishRequest& request) {
  v1::FinishReply reply;
  const Lock lock(mutex_);
  const v1::RankId& id = request.id();
  JobPtr job = find(id.job());
  // The others may have gone on without it before it says that it left.
  if (job && request.outcome() == v1::FinishRequest::LEFT && job->membership &&
      caller_of(id).token == job->membership->token && job->state().finished.contains(id.rank())) {
    return reply;
  }
  const Standing where = stand(id, "Finish", job);
  if (!request.failure().empty() && job) {
    log_line(job, fmt::format("rank {} failed: {}", id.rank(), request.failure()));
  }
  if (where == Standing::kNewcomer) {
    give_up_newcomer(job, id.rank(), request.failure().empty() ? "ended" : request.failure());
    return reply;
  }
  if (where != Standing::kCurrent) {
    reply.set_stale(true);
    return reply;
  }
  const bool leads = id.rank() == leader_of(job->membership->generation);
  if (!request.final_metrics().empty() && (leads || job->record.final_metrics.empty())) {
    job->record.final_metrics = {request.final_metrics().begin(), request.final_metrics().end()};
    store_.save_final_metrics(job->name(), job->record.final_metrics);
  }
  apply(job, RankFinished{id.attempt(), id.rank(), request.outcome(), request.failure(),
                          request.artifact()});
  if (options_.ranks_are_here && job->membership && all_done(job->state())) job->over_soon = true;
  return reply;
}

}  // namespace musher

// The queue: who waits, who starts, and what people see of it.

#include <algorithm>

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

using std::chrono::milliseconds;

google::protobuf::Timestamp timestamp(WallTime time) {
  return google::protobuf::util::TimeUtil::MillisecondsToTimestamp(time.time_since_epoch().count());
}

/// How long a job may still hold its slots: what it may run, and then save its model in.
milliseconds longest(const JobState& state, const Grace& grace, WallTime now) {
  const milliseconds left = std::max(milliseconds(0), state.max_runtime - billable(state, now));
  return left + grace.stop + grace.exit;
}

}  // namespace

/// In the order of submission.
std::vector<QueuedJob> Coordinator::queued_jobs(WallTime now, bool rented) {
  std::vector<QueuedJob> queue;
  for (const std::string& name : store_.unfinished_names()) {
    const JobPtr job = find(name);
    if (!job || job->state().attempt_started || job->state().over() || job->slurm) continue;
    if (job->rented.has_value() != rented) continue;
    const JobState& state = job->state();
    queue.push_back({name, state.ranks, job->record.submitter, job->record.priority,
                     std::max(milliseconds(0), now - state.created), state.attempt > 0,
                     longest(state, options_.grace, now)});
  }
  return queue;
}

std::vector<RunningJob> Coordinator::running_jobs(bool rented) const {
  const WallTime now = wall_now();
  std::vector<RunningJob> running;
  for (const auto& [name, job] : jobs_) {
    if (!job->state().attempt_started && !job->slurm) continue;
    if (job->rented.has_value() != rented) continue;
    running.push_back(
        {name, job->placement, job->record.submitter, longest(job->state(), options_.grace, now)});
  }
  return running;
}

void Coordinator::schedule_jobs() {
  scheduled_ = wall_now();
  if (options_.rent) settle_fleets(scheduled_);
  std::vector<QueuedJob> queue = queued_jobs(scheduled_);
  const std::vector<HostSlots> hosts = usable_hosts();
  for (QueuedJob& queued : queue) {
    const JobPtr job = find(queued.name);
    shrink_to_hosts(job, hosts);
    queued.ranks = job->state().ranks;
  }
  const Schedule decision = schedule(queue, running_jobs(), hosts, options_.policy);
  for (const QueuedJob& queued : queue) find(queued.name)->queue_position = 0;
  for (std::size_t i = 0; i < decision.waiting.size(); ++i) {
    find(decision.waiting[i])->queue_position = static_cast<int>(i) + 1;
  }
  for (const std::string& name : decision.too_large) tell_too_large(find(name), hosts);
  for (const Start& start : decision.starts) {
    const JobPtr job = find(start.name);
    job->placement = start.placement;
    if (slurm_) {
      submit_to_slurm(job);
    } else {
      apply(job, Scheduled{});
    }
  }
  if (!queue.empty()) notify();
}

/// Once.
void Coordinator::tell_too_large(const JobPtr& job, const std::vector<HostSlots>& hosts) {
  if (std::exchange(job->told_too_large, true)) return;
  const bool for_good = job->state().ranks > total_slots(hosts_);
  std::string text = fmt::format("waits: it needs {} slots, and all hosts {} have {}",
                                 job->state().ranks, for_good ? "together" : "that can be used now",
                                 total_slots(for_good ? hosts_ : hosts));
  for (const auto& [host, lost] : lost_hosts_) {
    text += fmt::format("; host {} is left out: {}", host, lost.why);
  }
  // It may have been told before a restart.
  if (std::find(job->notices.begin(), job->notices.end(), text) == job->notices.end()) {
    add_notice(job, text);
  }
}

v1::QueueReply Coordinator::queue() {
  const Lock lock(mutex_);
  const WallTime now = wall_now();
  const std::vector<HostSlots> hosts = usable_hosts();
  const std::vector<RunningJob> running = running_jobs();
  const Schedule decision = schedule(queued_jobs(now), running, hosts, options_.policy);
  v1::QueueReply reply;
  reply.set_slots(total_slots(hosts));
  reply.set_free_slots(free_slots(running, hosts));
  for (std::size_t i = 0; i < kRefusals; ++i) {
    const auto refusal = static_cast<Refusal>(i);
    if (refusals_.of(refusal) == 0) continue;
    (*reply.mutable_refused_calls())[std::string(to_string(refusal))] = refusals_.of(refusal);
  }
  const auto add = [&](const std::string& name) -> v1::QueueEntry& {
    const JobPtr job = find(name);
    v1::QueueEntry& entry = *reply.add_jobs();
    entry.set_training_job_name(name);
    entry.set_submitter(job->record.submitter);
    entry.set_priority(job->record.priority);
    entry.set_ranks(job->state().ranks);
    *entry.mutable_since() = timestamp(job->state().attempt_started.value_or(job->state().created));
    return entry;
  };
  for (const RunningJob& job : running) {
    v1::QueueEntry& entry = add(job.name);
    *entry.mutable_by() = timestamp(now + *job.ends_in);
    const JobPtr waits = find(job.name);
    if (!waits->state().attempt_started) entry.set_note(waits->slurm->waits_for);
  }
  std::vector<std::string> waiting;
  for (const Start& start : decision.starts) waiting.push_back(start.name);
  waiting.insert(waiting.end(), decision.waiting.begin(), decision.waiting.end());
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    v1::QueueEntry& entry = add(waiting[i]);
    entry.set_position(static_cast<int>(i) + 1);
    if (i < decision.starts.size()) {
      entry.set_note("starts");
    } else if (entry.ranks() > reply.slots()) {
      entry.set_note(fmt::format("needs more slots than there are, {}", reply.slots()));
    } else if (i == decision.starts.size() && decision.head_starts_in) {
      *entry.mutable_by() = timestamp(now + *decision.head_starts_in);
      entry.set_note("next");
    }
  }
  for (const RunningJob& job : running_jobs(true))
    *add(job.name).mutable_by() = timestamp(now + *job.ends_in);
  for (const QueuedJob& job : queued_jobs(now, true)) {
    add(job.name).set_note(find(job.name)->state().transitions.back().message);
  }
  return reply;
}

}  // namespace musher

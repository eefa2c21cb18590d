// GET /metrics: what there is now and what happened so far, for Prometheus.

#include <map>
#include <string>

#include "coordinator/coordinator.h"
#include "monitoring/page.h"

namespace musher {

namespace {

double number(std::uint64_t count) {
  return static_cast<double>(count);
}

void add_counts(MetricsPage& page, const CoordinatorCounts& counts, const Refusals& refusals) {
  page.counter("musher_jobs_submitted_total", "Jobs that were taken", number(counts.submissions));
  page.counter("musher_attempts_started_total", "Attempts, each one mpirun, that were started",
               number(counts.attempts));
  page.counter("musher_heartbeats_total", "Reports of ranks that were taken",
               number(counts.heartbeats));
  page.counter("musher_recoveries_total",
               "How often the ranks of a job went on without one that died or hung",
               number(counts.recoveries));
  page.counter("musher_ranks_lost_total", "Ranks that the others of their job went on without",
               number(counts.ranks_lost));
  page.counter("musher_checkpoints_total", "Checkpoints that were committed",
               number(counts.checkpoints));
  for (std::size_t i = 0; i < kRefusals; ++i) {
    const auto refusal = static_cast<Refusal>(i);
    page.counter("musher_refused_calls_total", "Calls that were refused at the door, and why",
                 number(refusals.of(refusal)), {{"reason", std::string(to_string(refusal))}});
  }
}

/// Instances of EC2 that are rented for jobs.
void add_fleets(MetricsPage& page, const FleetReading& reading) {
  std::map<std::string, int> states = reading.instances;
  for (const char* state : {"pending", "running"}) states.try_emplace(state, 0);
  for (const auto& [state, instances] : states) {
    page.gauge("musher_fleet_instances",
               "Rented EC2 instances by EC2's state, as they were last looked at", instances,
               {{"state", state}});
  }
  page.counter("musher_fleet_instances_started_total", "EC2 instances that were started",
               number(reading.started));
  for (const auto& [failure, calls] : reading.failures) {
    page.counter("musher_fleet_call_failures_total",
                 "Calls to AWS that failed while instances were to be had, by AWS's code",
                 number(calls),
                 {{"call", failure.first},
                  {"code", failure.second.empty() ? "NotReached" : failure.second}});
  }
  for (const auto& [kind, seconds] : reading.seconds) {
    page.counter("musher_fleet_instance_seconds_total",
                 "Seconds that rented EC2 instances ran, all together: 3600 are an instance hour",
                 seconds, {{"type", kind.first}, {"bought", kind.second ? "spot" : "demand"}});
  }
}

/// A job that trains, by its leader's newest report.
void add_progress(MetricsPage& page, const std::string& job, const v1::ReportRequest& latest) {
  if (latest.steps() == 0) return;
  const auto gauge = [&](const char* name, const char* help, double value) {
    page.gauge(name, help, value, {{"job", job}});
  };
  gauge("musher_job_step", "Committed steps of a running job", number(latest.step()));
  gauge("musher_job_steps", "Steps that a running job is to have", number(latest.steps()));
  gauge("musher_job_samples_per_second", "train:samples_per_second of a running job",
        latest.samples_per_second());
  gauge("musher_job_loss", "train:loss of a running job", latest.loss());
}

}  // namespace

void Coordinator::add_metrics(MetricsPage& page) {
  add_counts(page, counts_, refusals_);
  for (const auto& [status, jobs] : store_.count_by_status()) {
    page.gauge("musher_jobs", "All jobs of the store, by SageMaker's TrainingJobStatus",
               number(jobs), {{"status", status}});
  }
  const Lock lock(mutex_);
  std::map<std::string, std::uint64_t> unfinished;
  std::uint64_t ranks = 0;
  for (const auto& [name, job] : jobs_) {
    ++unfinished[Secondary::Value_Name(job->state().secondary)];
    for (const auto& [rank, life] : job->ranks) ranks += life.joined ? 1 : 0;
    if (job->state().attempt_started) add_progress(page, name, job->latest);
  }
  for (const auto& [status, jobs] : unfinished) {
    page.gauge("musher_unfinished_jobs", "Jobs that are not over, by SageMaker's SecondaryStatus",
               number(jobs), {{"secondary_status", status}});
  }
  page.gauge("musher_workers", "Ranks that have joined and send heartbeats", number(ranks));
  const std::vector<HostSlots> hosts = usable_hosts();
  page.gauge("musher_slots", "Room for ranks on all hosts that can be used", total_slots(hosts));
  page.gauge("musher_free_slots", "Of those, how many nobody holds",
             free_slots(running_jobs(), hosts));
  page.gauge("musher_hosts", "Hosts that can be used", number(hosts.size()));
  page.gauge("musher_lost_hosts", "Hosts that did not answer, and are left out for now",
             number(lost_hosts_.size()));
  if (!keeper_) return;
  page.gauge("musher_fleets", "Fleets of jobs that wait or run, and those that are kept",
             number(fleets_.size()));
  page.gauge("musher_fleet_instances_wanted", "Instances of all of these together",
             rented_instances(fleets_));
  page.gauge("musher_fleet_instances_limit", "The most that may be rented: max-instances",
             options_.rent->max_instances);
  page.counter("musher_fleet_instances_replaced_total",
               "Instances that EC2 called running and that were no good",
               number(counts_.instances_replaced));
  add_fleets(page, keeper_->reading());
}

}  // namespace musher

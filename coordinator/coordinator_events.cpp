// What happens to jobs by themselves: time passes, slots become free, decisions are carried out.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestWait{60'000};
constexpr milliseconds kHeartbeatCheck{500};
constexpr milliseconds kHostfileCheck{2'000};

}  // namespace

void Coordinator::run_events(const std::stop_token& stop) {
  Lock lock(mutex_);
  std::uint64_t seen = 0;
  while (!stop.stop_requested()) {
    milliseconds wait = kHeartbeatCheck;
    try {
      wait = handle_due(wall_now());
    } catch (const std::exception& error) {
      // The store can't be written, say. What was due still is.
      logger_->error("{}", error.what());
    }
    std::vector<std::shared_ptr<void>> retired;
    retired.swap(retired_);
    std::erase_if(helpers_, [&](const Helper& helper) {
      if (*helper.done) retired.push_back(helper.thread);
      return helper.done->load();
    });
    const auto answers = joins_to_answer();
    if (!retired.empty() || !answers.empty()) {
      lock.unlock();
      retired.clear();
      for (const auto& answer : answers) answer();
      lock.lock();
      continue;
    }
    for (const WaitingJoin& waiting : waiting_joins_)
      wait = std::clamp(waiting.deadline.remaining(), milliseconds(0), wait);
    seen = version_;
    changed_.wait_until(lock, Deadline::after(wait).when(),
                        [&] { return ending_ || schedule_wanted_ || version_ != seen; });
  }
}

/// All that is due now; returns how long nothing else will be.
milliseconds Coordinator::handle_due(WallTime now) {
  milliseconds wait = kLongestWait;
  std::vector<JobPtr> jobs;
  for (const auto& [name, job] : jobs_) jobs.push_back(job);
  for (const JobPtr& job : jobs) {
    if (std::exchange(job->over_soon, false)) end_attempt(job);
    if (job->ending) settle_attempt(job);
    const auto due = next_tick(job->state());
    if (due && *due <= now) apply(job, Tick{});
    if (job->membership) {
      watch_ranks(job);
      wait = std::min(wait, kHeartbeatCheck);
    }
    if (const auto next = next_tick(job->state())) {
      wait = std::clamp(milliseconds(*next - now), milliseconds(1), wait);
    }
  }
  wait = std::min(wait, welcome_hosts(now));
  if (options_.rent) wait = std::min(wait, watch_fleets(now));
  if (!options_.hostfile.empty()) {
    read_hosts();
    wait = std::min(wait, kHostfileCheck);
  }
  // A job becomes overdue by time alone.
  if (now >= scheduled_ + kLongestWait) schedule_wanted_ = true;
  if (std::exchange(schedule_wanted_, false)) schedule_jobs();
  return wait;
}

/// The one way in which a job's state changes: decided, stored, then carried out.
void Coordinator::apply(const JobPtr& job, const Event& event) {
  const WallTime now = wall_now();
  Decision decision = decide(job->state(), event, now, options_.grace);
  if (decision.actions.empty() && decision.state == job->state()) return;
  const Secondary::Value before = job->state().secondary;
  // A queue that is taken up again changes nothing: not a flush of the disk for each job in it.
  if (decision.state != job->state()) store_.save(job->name(), decision.state);
  job->state() = std::move(decision.state);
  if (before != job->state().secondary) {
    logger_->info("job {}: {}", job->name(),
                  v1::SecondaryStatus::Value_Name(job->state().secondary));
  }
  for (const Action& action : decision.actions) perform(job, action);
  notify();
}

void Coordinator::perform(const JobPtr& job, const Action& action) {
  switch (action.kind) {
    case Action::Kind::kQueue:
      job->placement.clear();
      schedule_wanted_ = true;
      break;
    case Action::Kind::kStartAttempt:
      start_attempt(job);
      break;
    case Action::Kind::kAskToStop:
      job->stop = true;
      if (job->attempt) job->attempt->ask_to_stop();
      break;
    case Action::Kind::kTellFailure:
      job->failure = action.text;
      log_line(job, "failed: " + action.text);
      break;
    case Action::Kind::kKill:
      kill_attempt(job);
      break;
    case Action::Kind::kNotice:
      add_notice(job, action.text);
      break;
    case Action::Kind::kOver:
      if (job->slurm) withdraw_from_slurm(job);
      save_log_metrics(job);
      log_line(job, fmt::format("{}{}{}", v1::TrainingJobStatus::Value_Name(job->state().status),
                                job->state().failure.empty() ? "" : ": ", job->state().failure));
      logger_->info("job {}: over, {}", job->name(),
                    v1::TrainingJobStatus::Value_Name(job->state().status));
      publish(job);
      retired_.push_back(job);
      jobs_.erase(job->name());
      schedule_wanted_ = true;
      break;
  }
}

void Coordinator::add_notice(const JobPtr& job, const std::string& text) {
  store_.add_notice(job->name(), {wall_now(), text});
  show_notice(job, text);
}

/// To all who follow the job, once the store has it.
void Coordinator::show_notice(const JobPtr& job, const std::string& text) {
  job->notices.push_back(text);
  log_line(job, text);
  notify();
}

void Coordinator::log_line(const JobPtr& job, const std::string& text) {
  job->log->append({{wall_now().time_since_epoch().count(), -1, false, text}});
}

}  // namespace musher

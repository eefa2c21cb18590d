#include "coordinator/coordinator.h"

#include <algorithm>

#include <google/protobuf/util/message_differencer.h>
#include <google/protobuf/util/time_util.h>

#include "job/request.h"

namespace musher {

namespace {

/// The store holds the tokens of attempts, so a new state folder is the owner's alone.
std::filesystem::path private_folder(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::create_directories(folder, error)) {
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  }
  if (error) {
    throw Error(ErrorCode::kInvalidArgument,
                "the state folder " + folder.string() + " can't be made: " + error.message());
  }
  return folder;
}

constexpr std::size_t kLongestToken = 64;
constexpr int kHighestPriority = 100;
constexpr int kMetricsOfAChunk = 1000;

/// That of the last committed step: a rank that saves the model reports none.
std::uint64_t epoch_of(const v1::ReportRequest& latest, std::uint64_t epochs) {
  const std::uint64_t steps_per_epoch = epochs > 0 ? latest.steps() / epochs : 0;
  if (steps_per_epoch == 0 || latest.step() == 0) return latest.epoch();
  return (latest.step() - 1) / steps_per_epoch;
}

/// SageMaker's ProgressInfo; absent until a step was committed.
void describe_progress(const JobRecord& record, const v1::ReportRequest& latest,
                       v1::DescribeTrainingJobResponse& response) {
  const auto parsed = validate_request(record.request, record.workers).job;
  if (!parsed || latest.step() == 0 || latest.steps() == 0) return;
  const auto epochs = static_cast<std::uint64_t>(parsed->hyperparameters.epochs);
  const std::uint64_t steps_per_epoch = latest.steps() / epochs;
  if (steps_per_epoch == 0) return;
  v1::ProgressInfo& progress = *response.mutable_progress_info();
  progress.set_total_step_count_per_epoch(static_cast<std::int64_t>(steps_per_epoch));
  progress.set_current_step(static_cast<std::int64_t>((latest.step() - 1) % steps_per_epoch + 1));
  progress.set_current_epoch(static_cast<std::int64_t>(epoch_of(latest, epochs)) + 1);
  progress.set_max_epoch(static_cast<std::int64_t>(epochs));
}

}  // namespace

Coordinator::Coordinator(CoordinatorOptions options, Logger logger)
    : options_(std::move(options)),
      logger_(std::move(logger)),
      store_(private_folder(options_.state)),
      hosts_(options_.hosts) {
  std::error_code none;
  hosts_read_ = std::filesystem::last_write_time(options_.hostfile, none);
  std::filesystem::create_directories(options_.state / "jobs");
  std::filesystem::create_directories(options_.state / "cache");
  const Lock lock(mutex_);
  if (options_.slurm) open_slurm();
  if (options_.rent) open_fleets();
  recover();
}

Coordinator::~Coordinator() {
  shut_down();
  events_ = Thread();
  std::map<std::string, JobPtr> jobs;
  std::vector<std::shared_ptr<void>> retired;
  {
    const Lock lock(mutex_);
    jobs.swap(jobs_);
    retired.swap(retired_);
  }
  if (options_.die_together) {
    for (const auto& [name, job] : jobs) {
      if (job->attempt) job->attempt->kill();
    }
    // The attempts' threads see their processes' end; until then a destructor must not cut in.
    for (const auto& [name, job] : jobs) {
      if (job->attempt) job->attempt->wait_ended(Deadline::after(std::chrono::seconds(10)));
    }
  }
}

void Coordinator::start(const std::string& address) {
  const Lock lock(mutex_);
  address_ = address;
  schedule_wanted_ = true;
  events_ = Thread("coordinator", [this](const std::stop_token& stop) { run_events(stop); });
}

void Coordinator::shut_down() {
  Lock lock(mutex_);
  ending_ = true;
  events_.request_stop();
  notify();
  while (!waiting_joins_.empty()) {
    const auto answers = joins_to_answer();
    lock.unlock();
    for (const auto& answer : answers) answer();
    lock.lock();
  }
}

void Coordinator::notify() {
  ++version_;
  changed_.notify_all();
}

std::uint64_t Coordinator::version() {
  const Lock lock(mutex_);
  return version_;
}

std::uint64_t Coordinator::wait_for_change(std::uint64_t seen, Deadline deadline) {
  Lock lock(mutex_);
  changed_.wait_until(lock, deadline.when(), [&] { return ending_ || version_ != seen; });
  return version_;
}

Coordinator::JobPtr Coordinator::find(const std::string& name) {
  const auto found = jobs_.find(name);
  return found == jobs_.end() ? nullptr : found->second;
}

/// Takes a job of the store into memory.
Coordinator::JobPtr Coordinator::activate(JobRecord record) {
  JobPtr job = std::make_shared<ActiveJob>();
  JobOrErrors parsed = validate_request(record.request, record.workers);
  if (!parsed.job) {
    throw Error(ErrorCode::kInvalidArgument, to_text(parsed.errors));
  }
  job->job = std::move(*parsed.job);
  job->record = std::move(record);
  job->log_metrics = std::make_shared<LogMetrics>(job->job.metric_definitions);
  std::filesystem::create_directories(job_folder(job->name()));
  job->log = std::make_shared<JobLog>(job_folder(job->name()) / "log");
  for (const Notice& notice : store_.notices(job->name())) {
    job->notices.push_back(notice.text);
    job->rank_notices.emplace(notice.time.time_since_epoch().count(), notice.text);
  }
  if (auto progress = store_.progress(job->name())) job->latest = std::move(*progress);
  if (rents(job->record.request)) job->rented.emplace();
  jobs_[job->name()] = job;
  return job;
}

void Coordinator::recover() {
  for (JobRecord& record : store_.unfinished()) {
    const std::string name = record.name();
    try {
      const JobPtr job = activate(std::move(record));
      if (job->state().attempt_started) {
        adopt_attempt(job);
      } else {
        apply(job, CoordinatorRestarted{});
        if (slurm_) recall_from_slurm(job);
      }
    } catch (const Error& error) {
      logger_->error("job {} can't be taken up again: {}", name, error.what());
    }
  }
}

/// The name of the job that an earlier submission with this token made.
std::optional<std::string> Coordinator::submitted_before(
    const v1::CreateTrainingJobRequest& request, const std::string& client_token) {
  if (client_token.empty()) return std::nullopt;
  const auto known = store_.find_token(client_token);
  if (!known) return std::nullopt;
  v1::CreateTrainingJobRequest same = known->request;
  same.set_training_job_name(request.training_job_name());  // which may have been made up
  if (!google::protobuf::util::MessageDifferencer::Equals(same, request)) {
    throw Error(ErrorCode::kAlreadyExists,
                "the client token was used before, for job " + known->name() +
                    ", which is another job: use a token of its own for each");
  }
  return known->name();
}

std::string Coordinator::create(const v1::CreateTrainingJobRequest& request,
                                const Submission& submission) {
  if (submission.client_token.size() > kLongestToken) {
    throw Error(ErrorCode::kInvalidArgument,
                "client_token: must have at most " + std::to_string(kLongestToken) +
                    " characters, not " + std::to_string(submission.client_token.size()));
  }
  if (submission.submitter.size() > kLongestToken) {
    throw Error(ErrorCode::kInvalidArgument,
                "submitter: must have at most " + std::to_string(kLongestToken) +
                    " characters, not " + std::to_string(submission.submitter.size()));
  }
  if (submission.priority < -kHighestPriority || submission.priority > kHighestPriority) {
    throw Error(ErrorCode::kInvalidArgument,
                "priority: must be -100 to 100, not " + std::to_string(submission.priority));
  }
  const JobOrErrors parsed = validate_request(request, submission.workers);
  if (!parsed.job) throw Error(ErrorCode::kInvalidArgument, to_text(parsed.errors));
  check_rent(request);
  const Job& job = *parsed.job;
  JobRecord record;
  record.request = request;
  record.workers = submission.workers;
  record.client_token = submission.client_token;
  record.submitter = submission.submitter;
  record.priority = submission.priority;
  record.state = submitted(job.ranks, job.retries, job.max_runtime, wall_now());
  if (job.max_wait) record.state.max_wait = *job.max_wait;
  if (job.max_pending) record.state.max_pending = *job.max_pending;
  const Lock lock(mutex_);
  if (auto known = submitted_before(request, submission.client_token)) return *std::move(known);
  store_.create(record);
  // A job of this name that was deleted may have left files where a crash cut in.
  std::filesystem::remove_all(job_folder(job.name));
  activate(std::move(record));
  ++counts_.submissions;
  schedule_wanted_ = true;
  notify();
  return job.name;
}

v1::DescribeTrainingJobResponse Coordinator::describe(const std::string& name) {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  const JobRecord record = job ? job->record : store_.get(name);
  v1::DescribeTrainingJobResponse response = musher::describe(record, wall_now());
  const v1::ReportRequest latest =
      job ? job->latest : store_.progress(name).value_or(v1::ReportRequest());
  describe_progress(record, latest, response);
  return response;
}

void Coordinator::metrics(const std::string& name, const std::string& only,
                          const std::function<bool(const v1::MetricsChunk&)>& take) {
  v1::MetricsChunk chunk;
  for (const v1::Metric& metric : store_.metrics(name)) {
    if (!only.empty() && metric.name() != only) continue;
    v1::MetricPoint& point = *chunk.add_points();
    point.set_metric_name(metric.name());
    point.set_value(metric.value());
    *point.mutable_timestamp() =
        google::protobuf::util::TimeUtil::MillisecondsToTimestamp(metric.time_ms());
    point.set_epoch(metric.epoch());
    point.set_step(metric.step());
    if (chunk.points_size() < kMetricsOfAChunk) continue;
    if (!take(chunk)) return;
    chunk.Clear();
  }
  take(chunk);
}

v1::ListTrainingJobsResponse Coordinator::list(const v1::ListTrainingJobsRequest& request) {
  return store_.list(request);
}

void Coordinator::stop(const std::string& name) {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job) {
    store_.get(name);  // kNotFound, or it is over
    return;
  }
  apply(job, StopRequested{});
}

void Coordinator::kill(const std::string& name) {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  if (!job) return;
  apply(job, StopRequested{});
  kill_attempt(job);
}

void Coordinator::remove(const std::string& name) {
  const Lock lock(mutex_);
  if (find(name)) {
    throw Error(ErrorCode::kFailedPrecondition,
                "job " + name + " is not over; stop it before you delete it");
  }
  store_.get(name);
  store_.remove(name);
  std::filesystem::remove_all(job_folder(name));
  notify();
}

v1::JobProgress Coordinator::progress(const std::string& name, std::size_t first_notice) {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  const JobRecord record = job ? job->record : store_.get(name);
  v1::JobProgress progress;
  *progress.mutable_job() = musher::describe(record, wall_now());
  *progress.mutable_tags() = record.request.tags();
  const auto publishing = publishing_.find(name);
  progress.set_over(record.state.over() &&
                    (publishing == publishing_.end() || publishing->second.expired()));
  progress.set_ranks(record.state.ranks);
  progress.set_attempt(record.state.attempt);
  v1::ReportRequest latest;
  std::vector<std::string> notices;
  if (job) {
    latest = job->latest;
    notices = job->notices;
    progress.set_queue_position(job->queue_position);
  } else {
    latest = store_.progress(name).value_or(v1::ReportRequest());
    for (const Notice& notice : store_.notices(name)) notices.push_back(notice.text);
  }
  if (const auto parsed = validate_request(record.request, record.workers).job) {
    progress.set_epochs(static_cast<std::uint64_t>(parsed->hyperparameters.epochs));
  }
  if (const auto generation = store_.newest_generation(name)) {
    progress.set_generation(generation->number);
    if (record.state.attempt_started && generation->attempt == record.state.attempt) {
      progress.set_ranks(static_cast<int>(record.state.members.size()));
    }
  }
  progress.set_epoch(epoch_of(latest, progress.epochs()));
  progress.set_step(latest.step());
  progress.set_steps(latest.steps());
  progress.set_samples_per_second(latest.samples_per_second());
  progress.set_loss(latest.loss());
  progress.set_eta_seconds(latest.step_seconds() > 0 && latest.steps() > 0
                               ? static_cast<double>(latest.steps() - latest.step()) *
                                     latest.step_seconds()
                               : -1);
  for (std::size_t i = first_notice; i < notices.size(); ++i) progress.add_notices(notices[i]);
  return progress;
}

std::filesystem::path Coordinator::log_file(const std::string& name) {
  const Lock lock(mutex_);
  if (!find(name)) store_.get(name);
  return job_folder(name) / "log";
}

bool Coordinator::busy() {
  if (keeper_ && keeper_->busy()) return true;
  const Lock lock(mutex_);
  const auto waits = [](const Helper& helper) { return helper.thread && !*helper.done; };
  return std::any_of(helpers_.begin(), helpers_.end(), waits) ||
         std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
           return waits(entry.second->preparing) || waits(entry.second->staging);
         });
}

std::string Coordinator::token(const std::string& name) {
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  return job && job->membership ? job->membership->token : "";
}

}  // namespace musher

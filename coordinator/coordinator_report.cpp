// A job's report: asked for, and beside its artifact when the job is over.

#include <span>

#include "coordinator/coordinator.h"
#include "coordinator/report.h"
#include "coordinator/tensorboard.h"
#include "storage/object_store.h"

namespace musher {

namespace {

/// Of a store that fails: nobody waits longer for a report.
constexpr auto kRetry = std::chrono::seconds(5);
/// Nor of one that does not answer.
constexpr auto kPublishLimit = std::chrono::seconds(15);

void put(ObjectStore& store, const std::string& key, const std::string& text) {
  store.put(key, std::as_bytes(std::span(text)));
}

}  // namespace

/// (free)
ReportContents Coordinator::report_contents(const std::string& name) {
  ReportContents contents;
  contents.job = describe(name);
  contents.metrics = store_.metrics(name);
  contents.history = store_.notices(name);
  contents.generation = store_.newest_generation(name);
  if (const auto attempt = store_.newest_attempt(name)) contents.attempts = attempt->attempt;
  contents.machine = machine_info();
  contents.machine.mpi = options_.mpirun;
  contents.made = wall_now();
  return contents;
}

std::string Coordinator::report(const std::string& name) {
  return report_html(report_contents(name));
}

/// By a thread, for the store may be slow; until it is done who follows the job waits.
void Coordinator::publish(const JobPtr& job) {
  if (job->latest.step() == 0) return;  // there is nothing to show
  publishing_.insert_or_assign(job->name(), Deadline::after(kPublishLimit));
  const auto done = std::make_shared<std::atomic<bool>>(false);
  auto work = [this, name = job->name(), output = job->job.output, done] {
    publish_now(name, output);
    *done = true;
  };
  helpers_.push_back({std::make_shared<Thread>("report", std::move(work)), done});
}

/// (free)
void Coordinator::publish_now(const std::string& name, const Uri& output) {
  std::string trouble;
  try {
    const ReportContents contents = report_contents(name);
    StorageConfig storage = options_.storage;
    storage.retry_limit = kRetry;
    const auto store = open_store(output.join(name + "/output"), storage);
    put(*store, "report.html", report_html(contents));
    const std::int64_t created =
        contents.job.creation_time().seconds() * 1000;  // names the file: the same each time
    put(*store, "tensorboard/" + tensorboard_file_name(created),
        tensorboard_events(contents.metrics, created));
  } catch (const std::exception& error) {
    trouble = error.what();
  }
  const Lock lock(mutex_);
  try {
    if (!trouble.empty()) {
      logger_->warn("job {}: its report was not written: {}", name, trouble);
      store_.add_notice(name, {wall_now(), "the report was not written: " + trouble});
    }
  } catch (const std::exception& error) {  // the job was deleted, say
    logger_->warn("job {}: {}", name, error.what());
  }
  publishing_.erase(name);
  notify();
}

}  // namespace musher

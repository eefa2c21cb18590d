// What ranks print: their lines' metrics.

#include <algorithm>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

constexpr auto kOutputPause = std::chrono::milliseconds(20);

}  // namespace

/// Of lines that have just been written to the log. Of several values of one metric that come
/// together, the last counts: they are a series over time, and lines come faster than anyone looks.
void Coordinator::take_output(const std::string& name, std::uint64_t attempt,
                              const std::vector<LogEntry>& entries, const LogMetrics& metrics) {
  std::map<std::string, v1::Metric> found;
  for (const LogEntry& entry : entries) {
    if (metrics.empty() || entry.rank < 0) continue;
    for (const LogMetric& value : metrics.find(entry.text)) {
      v1::Metric& metric = found[value.name];
      metric.set_name(value.name);
      metric.set_value(value.value);
      metric.set_time_ms(entry.time_ms);
    }
  }
  const Lock lock(mutex_);
  const JobPtr job = find(name);
  // Who waits looks by itself now and then: a flood of lines does not wake it for each.
  const auto now = Deadline::Clock::now();
  if (now >= output_noticed_ + kOutputPause) {
    output_noticed_ = now;
    notify();
  }
  if (job && job->state().attempt == attempt && !found.empty()) {
    std::vector<v1::Metric> values;
    for (auto& [metric_name, metric] : found) {
      metric.set_step(job->latest.step());
      metric.set_epoch(job->latest.epoch());
      values.push_back(metric);
    }
    try {
      store_.add_metrics(name, values);
    } catch (const Error& error) {  // a full disk, say: training goes on
      logger_->error("job {}: {}", name, error.what());
    }
  }
}

/// FinalMetricDataList has the last value of each metric that the job defines, behind Musher's own.
void Coordinator::save_log_metrics(const JobPtr& job) {
  if (job->log_metrics->empty()) return;
  std::map<std::string, v1::Metric> last;
  for (const MetricDefinition& definition : job->job.metric_definitions) last[definition.name];
  for (const v1::Metric& metric : store_.metrics(job->name())) {  // by time
    const auto wanted = last.find(metric.name());
    if (wanted != last.end()) wanted->second = metric;
  }
  std::vector<v1::Metric>& final_metrics = job->record.final_metrics;
  std::erase_if(final_metrics, [&](const v1::Metric& m) { return last.contains(m.name()); });
  for (const auto& [name, metric] : last) {
    if (!metric.name().empty()) final_metrics.push_back(metric);
  }
  store_.save_final_metrics(job->name(), final_metrics);
}

}  // namespace musher

#include "coordinator/progress_printer.h"

#include <cmath>

#include <fmt/format.h>

namespace musher {

namespace {

constexpr auto kPlainInterval = std::chrono::seconds(5);

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::lround(seconds));
  if (whole >= 3600) {
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  }
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

std::string progress_line(const v1::JobProgress& progress) {
  std::string line = fmt::format("epoch {} of {}, step {}", progress.epoch() + 1, progress.epochs(),
                                 progress.step());
  if (progress.steps() > 0) line += fmt::format(" of {}", progress.steps());
  if (progress.samples_per_second() > 0) {
    line += fmt::format(", {:.0f} samples/s", progress.samples_per_second());
  }
  if (progress.loss() != 0) line += fmt::format(", loss {:.4g}", progress.loss());
  if (progress.eta_seconds() >= 0) line += ", ETA " + duration_text(progress.eta_seconds());
  return line;
}

void ProgressPrinter::clear() {
  if (std::exchange(shown_, false)) std::fputs("\r\033[K", out_);
  std::fflush(out_);
}

void ProgressPrinter::line(const std::string& text) {
  clear();
  std::fprintf(out_, "%s\n", text.c_str());
  std::fflush(out_);
}

void ProgressPrinter::update(const v1::JobProgress& progress) {
  const auto& job = progress.job();
  for (const std::string& notice : progress.notices()) line(notice);
  const int position = progress.queue_position();
  const bool moved = job.secondary_status() != status_ || position != queue_position_;
  status_ = job.secondary_status();
  queue_position_ = position;
  if (moved && !progress.over()) {
    line(job.training_job_name() + ": " + v1::SecondaryStatus::Value_Name(status_) +
         (position > 0 ? fmt::format(", {} in the queue", position) : ""));
  }
  const bool runs = status_ == v1::SecondaryStatus::Training && !progress.over();
  if (!runs || progress.step() == step_) return;
  const auto now = std::chrono::steady_clock::now();
  if (interactive_) {
    std::fprintf(out_, "\r%s\033[K", progress_line(progress).c_str());
    std::fflush(out_);
    shown_ = true;
  } else if (now - last_ >= kPlainInterval) {
    line(progress_line(progress));
    last_ = now;
  }
  step_ = progress.step();
}

std::string summary_text(const v1::DescribeTrainingJobResponse& job) {
  std::string text = fmt::format("{}: {} after {} s", job.training_job_name(),
                                 v1::SecondaryStatus::Value_Name(job.secondary_status()),
                                 job.training_time_in_seconds());
  for (const auto& metric : job.final_metric_data_list()) {
    text += fmt::format("\n  {} {:.5g}", metric.metric_name(), metric.value());
  }
  if (!job.failure_reason().empty()) text += "\n  " + job.failure_reason();
  return text;
}

int exit_code_of(v1::TrainingJobStatus::Value status) {
  switch (status) {
    case v1::TrainingJobStatus::Completed:
      return 0;
    case v1::TrainingJobStatus::Stopped:
      return 3;
    default:
      return 1;
  }
}

}  // namespace musher

#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include "jobs.pb.h"

namespace musher {

/// `epoch 2 of 8, step 310 of 1250, 842 samples/s, loss 0.412, ETA 1:20`
std::string progress_line(const v1::JobProgress& progress);

/// Shows a job's progress as it comes: on a terminal one line that is written over, with notices
/// above it; elsewhere plain lines, and not more than one of progress in five seconds.
class ProgressPrinter {
 public:
  /// `interactive`: whether `out` is a terminal.
  ProgressPrinter(std::FILE* out, bool interactive) : out_(out), interactive_(interactive) {}
  ~ProgressPrinter() { clear(); }

  void update(const v1::JobProgress& progress);
  void clear();

 private:
  void line(const std::string& text);

  std::FILE* out_;
  bool interactive_;
  bool shown_ = false;  // a progress line stands at the cursor
  v1::SecondaryStatus::Value status_ = v1::SecondaryStatus::UNSPECIFIED;
  int queue_position_ = 0;
  std::uint64_t step_ = 0;
  std::chrono::steady_clock::time_point last_;
};

/// What there is to say of a job that is over, on several lines: its end, its metrics, its
/// artifact.
std::string summary_text(const v1::DescribeTrainingJobResponse& job);

/// 0 Completed, 1 Failed, 3 Stopped.
int exit_code_of(v1::TrainingJobStatus::Value status);

}  // namespace musher

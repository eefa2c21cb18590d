#pragma once

#include <chrono>
#include <mutex>

#include "trainer/client/coordinator_client.h"

namespace musher {

/// What the training thread is at, for the heartbeat. Thread-safe.
class ActivityClock {
 public:
  void enter(Activity activity) {
    const std::lock_guard lock(mutex_);
    activity_ = activity;
    since_ = std::chrono::steady_clock::now();
  }
  ActivityNow now() const {
    const std::lock_guard lock(mutex_);
    const auto age = std::chrono::steady_clock::now() - since_;
    return {activity_, std::chrono::duration<double>(age).count()};
  }

 private:
  mutable std::mutex mutex_;
  Activity activity_ = Activity::kUnknown;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

/// An activity for as long as it lives, and kUnknown after it: computing is not judged, for a step
/// may take what it takes.
class DuringActivity {
 public:
  DuringActivity(ActivityClock* clock, Activity activity) : clock_(clock) {
    if (clock_ != nullptr) clock_->enter(activity);
  }
  ~DuringActivity() {
    if (clock_ != nullptr) clock_->enter(Activity::kUnknown);
  }
  DuringActivity(const DuringActivity&) = delete;
  DuringActivity& operator=(const DuringActivity&) = delete;

 private:
  ActivityClock* clock_;
};

}  // namespace musher

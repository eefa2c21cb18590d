#include "serving/scaling/invocation_meter.h"

#include <algorithm>

namespace musher {

void InvocationMeter::advance(ScalingTime now) {
  // Of a long silence just what is kept.
  const auto missed = (now - begin_) / period_;
  if (missed > static_cast<std::int64_t>(kept_) + 1) {
    whole_.clear();
    present_ = Datapoint{};
    begin_ += (missed - static_cast<std::int64_t>(kept_)) * period_;
  }
  while (now - begin_ >= period_) {
    whole_.push_back(present_);
    if (whole_.size() > kept_) whole_.pop_front();
    present_ = Datapoint{};
    begin_ += period_;
  }
}

void InvocationMeter::add(ScalingTime now, double count, int instances) {
  advance(now);
  if (!present_) return;
  present_->per_instance += count / std::max(1, instances);
  present_->total += count;
}

void InvocationMeter::miss(ScalingTime now) {
  advance(now);
  present_.reset();
}

std::vector<std::optional<Datapoint>> InvocationMeter::recent(ScalingTime now) {
  advance(now);
  return {whole_.begin(), whole_.end()};
}

}  // namespace musher

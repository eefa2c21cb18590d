#include "serving/access/replay_guard.h"

#include <charconv>

namespace musher {
namespace {

std::int64_t minute_of(SystemTime time) {
  return std::chrono::floor<std::chrono::minutes>(time).time_since_epoch().count();
}

}  // namespace

ReplayGuard::Answer ReplayGuard::take(std::string_view signature, SystemTime date, SystemTime now) {
  std::uint64_t bits = 0;
  std::from_chars(signature.data(), signature.data() + 16, bits, 16);
  const std::lock_guard lock(mutex_);
  const std::int64_t oldest = minute_of(now - kSignatureWindow);
  while (!minutes_.empty() && minutes_.begin()->first < oldest) {
    size_ -= minutes_.begin()->second.size();
    minutes_.erase(minutes_.begin());
  }
  if (const auto minute = minutes_.find(minute_of(date)); minute != minutes_.end()) {
    const auto first = minute->second.find(bits);
    if (first != minute->second.end())
      return now - first->second < same_second_ ? Answer::kNew : Answer::kSeen;
  }
  if (size_ >= capacity_) return Answer::kFull;
  minutes_[minute_of(date)].emplace(bits, now);
  ++size_;
  return Answer::kNew;
}

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "serving/access/signature.h"

namespace musher {

/// Remembers the signatures that were taken, for as long as their date would let them be taken
/// again, so that a request that someone recorded is of no use to them. But two requests that are
/// signed in the same second and say exactly the same have one signature, since dates are in whole
/// seconds and SDKs sign nothing else that differs: so a signature is good for `same_second` after
/// it first came. About 50 bytes a signature. Thread-safe.
class ReplayGuard {
 public:
  enum class Answer { kNew, kSeen, kFull };

  explicit ReplayGuard(std::chrono::seconds same_second = std::chrono::seconds(5),
                       std::size_t capacity = 8'000'000)
      : same_second_(same_second), capacity_(capacity) {}

  /// kNew too within `same_second` of the first time. kFull: more requests than `capacity` inside
  /// the window; to forget the oldest would let them in again. REQUIRES: a signature that was
  /// checked, with its date.
  Answer take(std::string_view signature, SystemTime date, SystemTime now);

 private:
  const std::chrono::seconds same_second_;
  const std::size_t capacity_;
  std::mutex mutex_;
  std::size_t size_ = 0;
  /// By the minute of their date: when each came first. Of a signature, 64 of its bits, as it is as
  /// good as random.
  std::map<std::int64_t, std::unordered_map<std::uint64_t, SystemTime>> minutes_;
};

}  // namespace musher

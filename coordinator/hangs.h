#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "workers.pb.h"

/// Which rank hangs, told from what ranks report. Pure.
namespace musher {

/// A rank as its last report has it.
struct RankSign {
  int rank = 0;
  Deadline::Clock::time_point heard;  ///< its last call, whatever it was
  v1::ReportRequest::Phase phase = v1::ReportRequest::STARTING;
  std::uint64_t step = 0;
  v1::ReportRequest::Activity activity = v1::ReportRequest::UNKNOWN;
  std::chrono::milliseconds activity_for{0};  ///< without a sign of life, when it reported
};

struct Hang {
  enum class Kind {
    kNone,
    kRank,        ///< `rank` hangs
    kCollective,  ///< all wait for each other: a collective never completes, and nobody is to blame
  };
  Kind kind = Kind::kNone;
  int rank = -1;
  std::string
      what;  ///< "hung: no heartbeat for 30 s; it was training at step 417, waiting for data"
};

/// `ranks`: those that should be at work. A rank hangs that has not called for `limit`, or whose
/// training thread has shown no sign of life for `limit` while it was not waiting for others: of
/// several, the one for the longest time. Only where none does, and each has waited for the others
/// for `limit`, is it the collective that hangs. REQUIRES: limit > 0.
Hang find_hang(const std::vector<RankSign>& ranks, std::chrono::milliseconds limit,
               Deadline::Clock::time_point now);

}  // namespace musher

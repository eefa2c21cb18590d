#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "coordinator/lifecycle.h"
#include "coordinator/membership.h"

/// The lines of a job's history that tell of ranks that went and came. Pure.
namespace musher {

/// What happened between two generations of an attempt.
struct Change {
  std::string text;   ///< "rank 2 on host a was killed by signal 9 (Killed); rank 4 joined"
  bool lost = false;  ///< a rank died, or the collective hung: a failure, not a wish
};
Change change_between(const Generation& before, const Generation& now, const JobState& state);

/// "…; 3 ranks went on with step 418 after 0.21 s, which was run again", or, where nothing had
/// failed, "…: 4 ranks from step 530 on, training paused for 0.12 s".
std::string recovery_line(const Change& change, std::size_t ranks, const v1::Recovery& recovery);
/// The step in such a line; absent for any other line of a history.
std::optional<std::uint64_t> recovery_step(const std::string& line);

}  // namespace musher

#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "common/thread.h"

namespace musher {

/// One of the two streams of a rank.
struct RankStream {
  int rank = -1;
  bool error = false;  ///< stderr
  auto operator<=>(const RankStream&) const = default;
};

/// `rank-3.stdout`, `rank-3.stderr`: the file that a rank writes it to.
std::string rank_file_name(const RankStream& stream);
/// Absent for any other name.
std::optional<RankStream> parse_rank_file_name(std::string_view name);

/// What this process prints goes to two files of its own, for good. Through mpirun it would not:
/// that takes output faster than it writes it, and holds the rest in its memory, without a limit.
/// Nothing lies between the process and the file, so nothing is lost when it is killed, and it
/// never waits for a reader. Whoever reads frees what was read (a file keeps its length and becomes
/// a hole); where nobody does so in time, the oldest is freed here, and the reader finds a hole.
class RankOutput {
 public:
  /// A file takes about this much room at most.
  static constexpr std::uint64_t kMost = 64 << 20;

  /// Made before the process prints and while signals are blocked that no other thread is to take.
  /// `folder` is there. Throws kUnavailable naming a file that can't be opened.
  RankOutput(const std::filesystem::path& folder, int rank, std::uint64_t most = kMost);

 private:
  Thread trim_;
};

}  // namespace musher

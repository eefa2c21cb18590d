#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/process.h"

namespace musher {

/// A line of a job's log.
struct LogEntry {
  std::int64_t time_ms = 0;  ///< since the epoch, of arrival
  int rank = -1;             ///< -1: the coordinator or mpirun
  bool error = false;        ///< from stderr
  std::string text;          ///< without its newline
  /// Where it came from: bytes of the attempt's output up to and with this line; 0: from the
  /// coordinator itself. Lets a restarted coordinator go on where the log ends.
  std::uint64_t attempt = 0;
  std::uint64_t source = 0;
};

/// The log of one job, in one file, appended to over all attempts and coordinators:
/// `<time_ms> <attempt> <source> <rank> <o|e> <text>\n`. Thread-safe.
class JobLog {
 public:
  /// Opens or creates; a line that a crash left unfinished is cut off. Throws kUnavailable naming
  /// the file.
  explicit JobLog(const std::filesystem::path& file);

  void append(const std::vector<LogEntry>& entries);

  /// How much of an attempt's output is in the log already.
  std::uint64_t source_end(std::uint64_t attempt) const;

 private:
  std::string path_;
  FileDescriptor file_;
  std::mutex mutex_;
};

struct LogPage {
  std::vector<LogEntry> entries;
  std::uint64_t next_offset = 0;  ///< bytes into the file
};

/// About `most_bytes` of a job's log from `offset`, whole lines; `rank` filters. Nothing there is
/// an empty page. Independent of who writes.
LogPage read_log(const std::filesystem::path& file, std::uint64_t offset, std::optional<int> rank,
                 std::size_t most_bytes = 256 << 10);

}  // namespace musher

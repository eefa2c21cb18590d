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

/// How large a job's log may become, in bytes.
struct LogLimits {
  std::uint64_t part = 32 << 20;
  std::uint64_t whole = 256 << 20;
};

/// The log of one job, appended to over all attempts and coordinators: lines
/// `<time_ms> <attempt> <source> <rank> <o|e> <text>\n`. It is in parts: `log`, and `log.<offset>`
/// for each that begins that many bytes into the whole. Where it grows beyond its limit the oldest
/// part but the first goes: how a job began and how it ends is what people look for. Offsets stay
/// what they are. Thread-safe.
class JobLog {
 public:
  /// `file` is the first part's. Opens or creates; a line that a crash left unfinished is cut off.
  /// Throws kUnavailable naming the file.
  explicit JobLog(const std::filesystem::path& file, LogLimits limits = {});

  void append(const std::vector<LogEntry>& entries);

  /// How much of an attempt's output is in the log already.
  std::uint64_t source_end(std::uint64_t attempt) const;

 private:
  void open_part(std::uint64_t begin);
  void drop_old_parts();

  const std::filesystem::path path_;
  const LogLimits limits_;
  std::mutex mutex_;
  FileDescriptor file_;      // of the newest part
  std::uint64_t begin_ = 0;  // where that begins
  std::uint64_t size_ = 0;   // of that
};

struct LogPage {
  std::vector<LogEntry> entries;
  std::uint64_t next_offset = 0;  ///< bytes into the whole
};

/// About `most_bytes` of a job's log from `offset`, whole lines; `rank` filters. Nothing there is
/// an empty page. Where a part is gone, one line of the coordinator says how much. Independent of
/// who writes.
LogPage read_log(const std::filesystem::path& file, std::uint64_t offset, std::optional<int> rank,
                 std::size_t most_bytes = 256 << 10);

}  // namespace musher

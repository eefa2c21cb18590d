#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/process.h"
#include "launch/rank_output.h"

namespace musher {

/// A line of a job's log.
struct LogEntry {
  std::int64_t time_ms = 0;  ///< since the epoch, of arrival
  int rank = -1;             ///< -1: the coordinator or mpirun
  bool error = false;        ///< from stderr
  std::string text;          ///< without its newline
  /// Where it came from: bytes of a file of the attempt up to and with this line; 0: from the
  /// coordinator itself. Lets a restarted coordinator go on where the log ends.
  std::uint64_t attempt = 0;
  std::uint64_t source = 0;
  bool own = false;  ///< the file is the rank's own for that stream; otherwise it is mpirun's

  RankStream stream() const { return own ? RankStream{rank, error} : RankStream{}; }
};

/// How much of each file of an attempt is in the log; mpirun's own is RankStream{}.
using SourceEnds = std::map<RankStream, std::uint64_t>;

/// How large a job's log may become, in bytes.
struct LogLimits {
  std::uint64_t part = 32 << 20;
  std::uint64_t whole = 256 << 20;
};

/// The log of one job, appended to over all attempts and coordinators: lines
/// `<time_ms> <attempt> <source> <rank> <kind> <text>\n`, with the kind o or e for stdout or stderr
/// from a rank's own file, O or E through mpirun, or of the coordinator. It is in parts: `log`, and
/// `log.<offset>` for each that begins that many bytes into the whole. Where it grows beyond its
/// limit the oldest part but the first goes: how a job began and how it ends is what people look
/// for. Offsets stay what they are. A part but the first begins with marks, lines of the kinds s
/// (stdout), t (stderr) and m (mpirun): how much of each file is in the parts before. No reader is
/// shown those. Thread-safe.
class JobLog {
 public:
  /// `file` is the first part's. Opens or creates; a line that a crash left unfinished is cut off.
  /// Throws kUnavailable naming the file.
  explicit JobLog(const std::filesystem::path& file, LogLimits limits = {});

  void append(const std::vector<LogEntry>& entries);

  /// What of an attempt is in the log already.
  SourceEnds source_ends(std::uint64_t attempt) const;

 private:
  void open_part(std::uint64_t begin);
  void find_ends();
  void note_end(const LogEntry& entry);
  void write(const std::string& text);
  void write_marks();
  void drop_old_parts();

  const std::filesystem::path path_;
  const LogLimits limits_;
  mutable std::mutex mutex_;
  std::uint64_t attempt_ = 0;  // the newest with lines in the log
  SourceEnds ends_;            // of that
  FileDescriptor file_;        // of the newest part
  std::uint64_t begin_ = 0;    // where that begins
  std::uint64_t size_ = 0;     // of that
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

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "common/thread.h"
#include "coordinator/attempt_processes.h"
#include "coordinator/job_log.h"
#include "launch/mpirun_output.h"
#include "launch/rank_output.h"

namespace musher {

/// A line of an attempt's output.
struct OutputLine {
  MpirunLine line;
  bool own = false;       ///< from the rank's own file, not through mpirun
  std::uint64_t end = 0;  ///< offset of its end in its file
};

/// Called from the attempt's thread.
struct AttemptListener {
  /// Lines that are not in the log yet, of one file.
  std::function<void(const std::vector<OutputLine>&)> output;
  /// A rank's process ended. What it wrote to its own files was handed on before.
  std::function<void(const RankExit&)> rank_ended;
  /// Its processes are gone, as far as they could be ended from here: what is elsewhere is to be
  /// ended too. May be empty.
  std::function<void()> clean_up;
  /// mpirun was sent a SIGTERM, which it does not hear.
  std::function<void()> told_to_end;
  /// mpirun is gone, so are all ranks, and all output was handed on. The last call.
  std::function<void()> ended;
};

/// One mpirun of a job, watched by a thread: its output, that of its ranks, which goes to files so
/// that it survives this process, and its end. The files are read in turns, so that lines come in
/// order of time, and one that grows without end holds the others up by a few milliseconds. What
/// was handed on is freed but for the last megabytes: a file keeps its length and takes no room.
/// mpirun's exit code decides nothing.
class Attempt {
 public:
  struct Paths {
    std::filesystem::path folder;  ///< of its ranks' files (launch/rank_output.h)
    std::filesystem::path output;  ///< in it: what mpirun itself writes, and hands on of ranks
  };
  /// What processes that ended while nobody watched left behind is read and ended. `logged`: how
  /// far each file is in the log already.
  Attempt(std::shared_ptr<AttemptProcesses> processes, Paths paths, SourceEnds logged,
          AttemptListener listener);
  /// Stops watching, and leaves the processes alone.
  ~Attempt();

  void ask_to_stop() { processes_->ask_to_stop(); }
  /// SIGKILL to every rank; to mpirun two seconds later, which until then hands on what the ranks
  /// wrote. `ended` follows.
  void kill();

  /// False where it still runs at the deadline.
  bool wait_ended(Deadline deadline);

  /// The last lines that a rank wrote to stderr, oldest first.
  std::vector<std::string> last_errors(int rank);

 private:
  void watch(const std::stop_token& stop);
  void watch_processes(const std::stop_token& stop);
  /// A file that is read as it grows.
  struct Source {
    RankStream stream;  ///< rank -1: mpirun's
    FileDescriptor file;
    std::uint64_t logged = 0;
    std::uint64_t offset = 0;  ///< read up to here
    std::uint64_t freed = 0;   ///< from its beginning
    std::string partial;       ///< of a line
    bool cut = false;          ///< the line under way has lost its beginning
  };
  void open_source(const RankStream& stream, const std::filesystem::path& path);
  void find_sources();
  bool read_turn();
  bool read_some(Source& source);
  void read_ranks_to_their_ends();
  void read_to_the_end();
  void skip_hole(Source& source, std::vector<OutputLine>& lines);
  void take_line(Source& source, std::string text, std::vector<OutputLine>& lines);
  void hand_on(const Source& source, std::vector<OutputLine> lines);

  const std::shared_ptr<AttemptProcesses> processes_;
  const Paths paths_;
  const AttemptListener listener_;

  FileDescriptor wake_;
  const SourceEnds logged_;
  std::map<RankStream, Source> sources_;
  std::map<std::pair<int, int>, std::int64_t> gone_;  // pid of a process that ended, by its name
  std::atomic<bool> kill_wanted_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::map<int, std::deque<std::string>> errors_;
  Thread thread_;
};

}  // namespace musher

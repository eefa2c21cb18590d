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
#include "coordinator/process.h"
#include "launch/mpirun_output.h"

namespace musher {

/// A line of an attempt's output.
struct OutputLine {
  MpirunLine line;
  std::uint64_t end = 0;  ///< offset of its end in the output file
};

/// Called from the attempt's thread.
struct AttemptListener {
  std::function<void(const std::vector<OutputLine>&)> output;
  /// A rank's process ended. What it wrote to stderr may still be on its way.
  std::function<void(const RankExit&)> rank_ended;
  /// mpirun is gone, and so is what was left of it on this machine: what is elsewhere is to be
  /// ended too. May be empty.
  std::function<void()> clean_up;
  /// mpirun was sent a SIGTERM, which it does not hear.
  std::function<void()> told_to_end;
  /// mpirun is gone, so are all ranks, and all output was handed on. The last call.
  std::function<void()> ended;
};

/// One mpirun of a job, watched by a thread: its output, which goes to a file so that it survives
/// this process, and its end. What was handed on is freed but for the last megabytes: the file
/// keeps its length and takes no room. mpirun's exit code decides nothing.
class Attempt {
 public:
  struct Paths {
    std::filesystem::path output;   ///< what its processes write
    std::filesystem::path token;    ///< an argument that each of its processes has, and no other
    std::filesystem::path session;  ///< mpirun's folder for its session; removed once all is over
  };
  /// `mpirun`: absent where it ended while nobody watched; what it left behind is then read and
  /// ended.
  Attempt(std::optional<Process> mpirun, Paths paths, AttemptListener listener);
  /// Stops watching, and leaves the processes alone.
  ~Attempt();

  /// SIGTERM to every rank, not to mpirun: that would kill them at once.
  void ask_to_stop();
  /// SIGKILL to every rank; to mpirun two seconds later, which until then hands on what the ranks
  /// wrote. `ended` follows.
  void kill();

  /// False where it still runs at the deadline.
  bool wait_ended(Deadline deadline);

  /// The last lines that a rank wrote to stderr, oldest first.
  std::vector<std::string> last_errors(int rank);

 private:
  void watch(const std::stop_token& stop);
  void watch_mpirun(const std::stop_token& stop);
  void read_output();
  void free_read_output();
  void take_line(const std::string& text, std::vector<OutputLine>& lines);
  void clean_up();

  const std::optional<Process> mpirun_;
  const Paths paths_;
  const AttemptListener listener_;

  FileDescriptor wake_;
  FileDescriptor file_;
  std::uint64_t offset_ = 0;
  std::uint64_t freed_ = 0;  // of the output, from its beginning
  std::string partial_;
  std::map<std::pair<int, int>, std::int64_t> gone_;  // pid of a process that ended, by its name
  std::atomic<bool> kill_wanted_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::map<int, std::deque<std::string>> errors_;
  Thread thread_;
};

}  // namespace musher

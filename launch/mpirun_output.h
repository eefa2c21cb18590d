#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace musher {

/// How a rank's process ended, as mpirun saw it.
struct RankExit {
  int job = 1;   ///< mpirun's own count: 1 is what it started, 2, 3, … were started by those
  int rank = 0;  ///< within that
  std::int64_t pid = 0;  ///< of its process; 0: not told
  int exit_code = 0;
  std::string signal;  ///< its name as strsignal() writes it, e.g. "Killed"; empty: it exited
  bool operator==(const RankExit&) const = default;

  bool clean() const { return exit_code == 0 && signal.empty(); }
  /// `exited with code 7`, `was killed by signal 9 (Killed)`.
  std::string text() const;
};

/// A line of mpirun's output in the form that mpirun_argv() asks for.
struct MpirunLine {
  enum class Kind {
    kRank,     ///< `[1,RANK]<stdout>: text` or <stderr>
    kMpirun,   ///< mpirun's own message
    kGone,     ///< a process ended: `exit` but for how
    kExit,     ///< how a rank ended: `exit` but for the pid, which the kGone before it has
    kChatter,  ///< the rest of what it says because it has to say how ranks end
  };
  Kind kind = Kind::kMpirun;
  int rank = -1;
  bool error = false;  ///< from stderr
  std::string text;
  RankExit exit;
};

/// One line, without its newline. Open MPI 5.0 (PRRTE 3).
MpirunLine parse_mpirun_line(std::string_view line);

}  // namespace musher

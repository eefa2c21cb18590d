#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace musher {

/// One mpirun of a job: one attempt.
struct MpirunOptions {
  std::string mpirun;   ///< path of Open MPI 5's mpirun
  std::string trainer;  ///< path of musher-trainer
  int ranks = 1;
  int cores = 1;           ///< of a host
  int ranks_per_host = 1;  ///< the most on any host
  bool as_root = false;
  std::string hostfile;                            ///< with slots; empty: this machine alone
  std::map<std::string, std::string> environment;  ///< of the job; only names appear in argv
  std::string coordinator;                         ///< HOST:PORT
  std::string job;
  std::uint64_t attempt = 1;
  std::string token_file;
  /// Where ranks write what they print (rank_output.h); empty: through mpirun.
  std::string output_folder;
  /// Folder for what mpirun keeps while it runs, of this mpirun alone: it names a folder there by
  /// its pid, and fails where an earlier one with that pid was killed and left its own.
  std::string session_folder;
  std::vector<std::string> trainer_arguments;  ///< further ones

  // For other hosts than this machine.
  std::string prefix;                 ///< where Open MPI is on them; empty: all ranks are here
  std::string ssh;                    ///< as ssh_agent() has it; empty: Slurm's allocation
  std::vector<std::string> networks;  ///< that MPI uses, e.g. 10.0.0.0/24; empty: as it likes
  /// Variables that ranks get there, beside the job's; the caller handles their values likewise.
  std::map<std::string, std::string> exported;
};

/// argv of mpirun. Open MPI 5 in ULFM mode, so that a rank's death does not take the others down.
/// Each output line is tagged with its rank, and mpirun tells how each rank ended (see
/// mpirun_output.h). Values of the job's environment are not in it: the caller puts them into
/// mpirun's own environment, from where it hands them on by name.
std::vector<std::string> mpirun_argv(const MpirunOptions& options);

/// Computing threads for a rank: an even share of a host's cores, at least 1.
int threads_per_rank(int cores, int ranks_per_host);

/// Open MPI's hostfile, one host a line: `h1 slots=4`; a host without slots has one; `#` begins a
/// comment. parse throws kInvalidArgument naming the line.
std::vector<std::pair<std::string, int>> parse_hostfile(const std::string& text);
std::string hostfile_text(const std::vector<std::pair<std::string, int>>& hosts);

/// This machine's host name.
std::string this_machine();

/// Loopback (common/loopback.h), or this machine's host name.
bool is_this_machine(const std::string& host);

}  // namespace musher

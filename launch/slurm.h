#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Slurm's command lines and answers (sbatch, squeue, scancel; Slurm 20.11 and newer). Pure.
namespace musher {

/// What is asked of Slurm for every attempt. What is empty is left to Slurm.
struct SlurmOptions {
  std::string commands = "/usr/bin";  ///< folder of sbatch, squeue and scancel
  std::string partition;
  std::string account;
  std::string qos;
  std::string constraint;
  std::string gpus_per_node;  ///< `4` or `a100:4`
  int cpus_per_rank = 1;
};

/// Throws kInvalidArgument naming the option and what would be right.
void check_slurm_options(const SlurmOptions& options);

/// One batch job: one attempt.
struct SlurmRequest {
  std::string name;    ///< of its own, by which it is found again
  int ranks = 1;       ///< tasks
  int nodes = 0;       ///< over which they are spread evenly; 0: as Slurm likes
  std::string folder;  ///< of its `batch.sh` and its `output`; each node has it at this path
  std::chrono::seconds limit{0};  ///< after which Slurm ends it; it counts in minutes
  /// That long before, SIGTERM to the batch script; 0: none.
  std::chrono::seconds warning{0};
};

/// argv of sbatch, which then prints the job's id. Of this process's environment the job gets PATH
/// and HOME alone: Slurm keeps what it gets in files of its own.
std::vector<std::string> sbatch_argv(const SlurmOptions& options, const SlurmRequest& request);

/// What `batch.sh` is: it starts `musher slurm run FOLDER`.
std::string batch_script(const std::string& musher, const std::string& folder);

/// The id that sbatch printed; absent where it printed something else.
std::optional<std::int64_t> parse_sbatch(const std::string& output);

/// Whether sbatch's error says that Slurm can't be reached or is busy, so that the job may be there
/// or not, and a later call may succeed.
bool is_slurm_away(const std::string& error);

/// A batch job as squeue shows it.
struct SlurmJob {
  std::int64_t id = 0;
  std::string name;
  std::string state;   ///< Slurm's word, such as PENDING
  std::string reason;  ///< why it waits, or ended; Slurm's word, such as Priority
  std::string nodes;   ///< such as `h[1-2]`
  std::optional<std::chrono::seconds> left;  ///< of its time limit; absent: no limit
  bool operator==(const SlurmJob&) const = default;
};

/// argv of squeue for all jobs of this user, those that ended minutes ago included.
std::vector<std::string> squeue_argv(const SlurmOptions& options);
/// Its output. Lines of another form, such as those of job arrays, are left out.
std::vector<SlurmJob> parse_squeue(const std::string& output);

/// To what has `id`, or, where that is 0, `name`.
struct SlurmTarget {
  std::string name;
  std::int64_t id = 0;
};
/// argv of scancel: ends the job, waiting or running.
std::vector<std::string> scancel_argv(const SlurmOptions& options, const SlurmTarget& target);
/// SIGTERM to the batch script alone.
std::vector<std::string> scancel_term_argv(const SlurmOptions& options, const SlurmTarget& target);
/// SIGKILL to all of its processes.
std::vector<std::string> scancel_kill_argv(const SlurmOptions& options, const SlurmTarget& target);

enum class SlurmPhase {
  kWaits,   ///< or has been put back into the queue
  kRuns,    ///< or stands still
  kEnding,  ///< its processes are being ended
  kOver,
};
/// Of Slurm's word for a state. One that is not known here counts as kRuns.
SlurmPhase phase_of(const std::string& state);

/// How a job that is over counts.
enum class SlurmEnd {
  kBatchEnded,  ///< by itself: what the ranks said decides
  kCancelled,   ///< by somebody
  kTimeLimit,   ///< its time limit, or its deadline
  kTaken,       ///< Slurm took the nodes back: preempted, or put back into the queue
  kFailed,      ///< a node failed, or its memory did not suffice
};
SlurmEnd end_of(const std::string& state);

}  // namespace musher

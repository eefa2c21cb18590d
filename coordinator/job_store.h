#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/lifecycle.h"
#include "coordinator/membership.h"
#include "coordinator/newcomers.h"
#include "coordinator/scheduler.h"
#include "training_job.pb.h"
#include "workers.pb.h"

namespace musher {

/// A job as it is stored.
struct JobRecord {
  v1::CreateTrainingJobRequest request;  ///< as submitted
  std::optional<int> workers;            ///< --workers, where it was given
  JobState state;
  std::vector<v1::Metric> final_metrics;
  std::string submitter;  ///< whom it counts for in the queue
  int priority = 0;
  std::string client_token;  ///< by which a submission that is sent again is known; may be empty

  const std::string& name() const { return request.training_job_name(); }
};

/// One mpirun of a job.
struct AttemptRecord {
  std::uint64_t attempt = 0;
  std::string token;                 ///< which its ranks prove themselves by
  std::vector<HostSlots> placement;  ///< the slots it holds
  std::int64_t pid = 0;              ///< of mpirun, also its process group; 0: not started yet
  std::uint64_t pid_start =
      0;  ///< that process's start time in clock ticks since boot (field 22 of /proc/PID/stat)
  std::string boot_id;  ///< of the machine it was started on
  WallTime started;
  std::optional<WallTime> ended;
};

struct Notice {
  WallTime time;
  std::string text;
};

/// A slice that a rank reported.
struct SliceRecord {
  std::string checkpoint;  ///< key of its folder below the checkpoint URI
  std::uint64_t step = 0;
  int slice = 0;
  int slices = 1;
  std::string key;
  std::uint64_t size = 0;
  std::uint64_t checksum = 0;
  std::string header;
};

/// A checkpoint whose manifest is written.
struct CheckpointRecord {
  std::string uri;  ///< its folder
  std::uint64_t step = 0;
  WallTime committed;
};

/// The coordinator's memory: SQLite in `folder`, written through (WAL, synchronous=FULL) before a
/// call returns, so that what was answered is still there after SIGKILL. One coordinator per
/// folder: a lock file says so. Thread-safe; every call is one transaction. Errors are `Error` with
/// the file's name: kNotFound for a job that is not there, kDataLoss for a damaged file,
/// kResourceExhausted for a full disk, kPermissionDenied, kUnavailable for a disk that fails.
class JobStore {
 public:
  /// Opens or creates. kFailedPrecondition while another process holds the folder, or where a newer
  /// Musher wrote it.
  explicit JobStore(const std::filesystem::path& folder);
  ~JobStore();
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;

  /// kAlreadyExists where the name or the client token is taken.
  void create(const JobRecord& job);
  /// The job that was submitted with this token, which is not empty.
  std::optional<JobRecord> find_token(const std::string& client_token);
  JobRecord get(const std::string& name);
  std::optional<JobRecord> find(const std::string& name);
  /// Jobs that are not over, in order of submission, which is the queue's.
  std::vector<JobRecord> unfinished();
  std::vector<std::string> unfinished_names();
  /// How many jobs have each status, by SageMaker's name of it.
  std::map<std::string, std::uint64_t> count_by_status();
  /// Replaces the job's state and adds `notices` to its history.
  void save(const std::string& name, const JobState& state,
            const std::vector<Notice>& notices = {});
  /// With everything that belongs to it. The caller sees to it that the job is over.
  void remove(const std::string& name);

  /// Filters first, then sorts, then pages: only the last page has no NextToken, and none is short.
  /// Pages stay consistent while jobs come and go: a token names the last job shown.
  /// kInvalidArgument names a field that is out of range.
  v1::ListTrainingJobsResponse list(const v1::ListTrainingJobsRequest& request);

  /// The same line of the same time is kept once, so that a report may be sent again.
  void add_notice(const std::string& name, const Notice& notice);
  /// Oldest first.
  std::vector<Notice> notices(const std::string& name);

  /// Metrics by (name, step): one that is sent again replaces itself.
  void add_metrics(const std::string& name, const std::vector<v1::Metric>& metrics);
  /// By time, then name.
  std::vector<v1::Metric> metrics(const std::string& name);
  void save_final_metrics(const std::string& name, const std::vector<v1::Metric>& metrics);

  /// The newest Report of rank 0, for the status after a restart. Not written through: the last
  /// second may be lost.
  void save_progress(const std::string& name, const v1::ReportRequest& report);
  std::optional<v1::ReportRequest> progress(const std::string& name);

  /// Records the epoch together with `notice` of it. True where it was not known: a report that is
  /// sent again is recorded once. Attempts that run an epoch again record it again.
  bool add_epoch(const std::string& name, std::uint64_t attempt, const v1::EpochReport& epoch,
                 const Notice& notice);

  void save_attempt(const std::string& name, const AttemptRecord& attempt);
  std::optional<AttemptRecord> newest_attempt(const std::string& name);

  /// The journal: called before anyone is told of the generation. Numbers must rise. `told`: the
  /// history needs no line about it.
  void add_generation(const std::string& name, const Generation& generation, bool told = true);
  std::optional<Generation> newest_generation(const std::string& name);
  /// The newest that the history is complete up to.
  std::optional<Generation> newest_told_generation(const std::string& name);
  /// The history has `notice` about what changed up to this generation.
  void tell_generation(const std::string& name, std::uint64_t number, const Notice& notice);

  void save_newcomer(const std::string& name, std::uint64_t attempt,
                     const NewcomerRecord& newcomer);
  /// Ascending by rank.
  std::vector<NewcomerRecord> newcomers(const std::string& name, std::uint64_t attempt);

  /// Takes a slice down and returns all slices of its checkpoint so far, ascending. A slice
  /// reported again replaces itself.
  std::vector<SliceRecord> add_slice(const std::string& name, const SliceRecord& slice);
  /// The checkpoint stands, and the history has `notice` of it; its slices are forgotten.
  void commit_checkpoint(const std::string& name, const std::string& checkpoint,
                         const CheckpointRecord& record, const Notice& notice);
  /// Oldest first.
  std::vector<CheckpointRecord> checkpoints(const std::string& name);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// SageMaker's description of a job. `now` for the times of a job that still runs.
v1::DescribeTrainingJobResponse describe(const JobRecord& job, WallTime now);

/// `arn:aws:sagemaker:local:000000000000:training-job/<name>`: SageMaker's shape.
std::string job_arn(const std::string& name);

}  // namespace musher

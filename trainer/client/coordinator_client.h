#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "dataset/digest.h"
#include "dataset/manifest.h"
#include "job/job.h"
#include "storage/config.h"
#include "trainer/input/batch.h"

namespace musher {

/// Who this process is to the coordinator.
struct RankIdentity {
  std::string job;
  std::uint64_t attempt = 1;
  int rank = 0;  ///< within the attempt, for good: not that of a communicator, which closes up
  int world_size = 1;
  std::string token;
};

/// A channel's manifest in numbers.
struct ChannelSummary {
  std::string name;
  std::string uri;
  std::uint64_t samples = 0;
  std::uint64_t bytes = 0;
  std::uint32_t shards = 0;
  std::uint64_t fingerprint = 0;
  std::uint64_t window = 1;
};

/// What the coordinator answers a rank that joined.
struct Membership {
  Job job;
  std::uint64_t generation = 0;
  std::vector<int> virtual_worker_rank;  ///< virtual worker → rank
  std::vector<std::string> classes;
  ChannelSummary train;
  std::optional<ChannelSummary> validation;
  /// Folder URIs of the committed checkpoints to start from, newest first; none: from the
  /// beginning.
  std::vector<std::string> resume_candidates;
  StorageConfig storage;
  double heartbeat_seconds = 1;
};

struct EpochAssignment {
  std::vector<VirtualWorkerRuns> shares;  ///< this rank's virtual workers, ascending
  Digest expected;                        ///< of the whole epoch, over all ranks
};

/// A membership that the coordinator has journaled.
struct GenerationPlan {
  std::uint64_t generation = 0;
  std::vector<int> virtual_worker_rank;  ///< virtual worker → rank
};

/// What the training thread is at. A rank that waits for ranks may be held up by another.
enum class Activity { kUnknown, kWaitingForData, kComputing, kWaitingForRanks, kRecovering };

struct ActivityNow {
  Activity activity = Activity::kUnknown;
  double seconds = 0;  ///< since the last sign of life
};

/// How a recovery went, told by the leader with the first step that was committed after it.
struct RecoveryDone {
  std::uint64_t generation = 0;
  std::uint64_t step = 0;      ///< that step
  bool ran_again = false;      ///< it had been under way when the failure was noticed
  double seconds = 0;          ///< from noticing to its commit
  double regroup_seconds = 0;  ///< of those, until the new generation stood
};

struct MetricPoint {
  std::string name;
  double value = 0;
  std::uint64_t step = 0;
  std::uint64_t epoch = 0;
};

struct EpochResult {
  std::uint64_t epoch = 0;
  Digest digest;                              ///< reduced over ranks
  Digest undecodable;                         ///< likewise
  std::vector<std::string> undecodable_keys;  ///< of this rank
};

enum class Phase { kStarting, kLoading, kTraining, kValidating, kSaving, kUploading };

/// Where a rank stands; the client sends the newest with each heartbeat.
struct Progress {
  Phase phase = Phase::kStarting;
  std::uint64_t step = 0;  ///< committed
  std::uint64_t steps = 0;
  std::uint64_t epoch = 0;
  double samples_per_second = 0;
  double loss = 0;
  double step_seconds = 0;
};

/// What the coordinator wants; sticky once set.
struct Directives {
  bool stop = false;            ///< end at the next step boundary: checkpoint, artifact
  bool checkpoint_now = false;  ///< cleared when taken
  bool stale = false;    ///< this rank belongs to an earlier generation or attempt: end without
                         ///< writing anything
  std::string failure;   ///< the coordinator failed the job
  bool regroup = false;  ///< the collective hangs: give it up. Of the present generation
  bool leave = false;    ///< the job was made smaller: leave at the next step boundary
  std::vector<int>
      start;  ///< to the leader: newcomers wanted, by rank; as the newest answer has it
};

struct SliceWritten {
  std::string checkpoint;  ///< key of its folder below the checkpoint URI
  std::uint64_t step = 0;
  int slice = 0;
  int slices = 1;
  std::string key;
  std::uint64_t size = 0;
  std::uint64_t checksum = 0;
  std::string header;  ///< JSON for the manifest
};

/// Something other than the coordinator wants training on this host to end.
struct Interruption {
  std::string reason;               ///< for people
  bool spot = false;                ///< EC2 takes the host back
  std::int64_t host_leaves_ms = 0;  ///< when, since the epoch; 0: not known
};

enum class Outcome { kCompleted, kStopped, kFailed, kLeft };

/// The coordinator as a rank sees it, in plain structs: the only door to gRPC in the trainer.
/// Thread-safe. Calls retry while the coordinator can't be reached, up to the deadline: it may be
/// restarting. A background thread sends the heartbeat.
class CoordinatorClient {
 public:
  CoordinatorClient(const std::string& address, RankIdentity identity);
  ~CoordinatorClient();

  /// Waits until every rank has joined. Starts the heartbeat. kFailedPrecondition when the
  /// coordinator refuses this rank.
  Membership join(const std::string& host, Deadline deadline);

  /// Of a process that the leader started while the others train: answered at once, with the
  /// present generation, of which it is no member yet.
  Membership join_as_newcomer(const std::string& host, Deadline deadline);

  /// From now on, until enter_generation(), an answer that this rank is stale means nothing.
  void begin_regroup();
  /// For the lowest of `members`, who have agreed to go on from `step`; `cause`: how it noticed
  /// that somebody was gone, empty where nobody was. kFailedPrecondition where the coordinator has
  /// moved on without them.
  GenerationPlan regroup(const std::vector<int>& members, std::uint64_t step,
                         const std::string& cause, Deadline deadline);
  void enter_generation(std::uint64_t generation);
  void recovered(const RecoveryDone& recovery);
  /// Asked with each heartbeat, on its thread; replaces the one before, which is not running any
  /// more on return.
  void watch_activity(std::function<ActivityNow()> source);

  EpochAssignment assignment(const std::string& channel, std::uint64_t epoch, Deadline deadline);
  std::vector<std::vector<Sample>> shards(const std::string& channel,
                                          const std::vector<std::uint32_t>& shards,
                                          Deadline deadline);

  /// Recorded at once, sent with the next heartbeat; metrics and epochs are sent until the
  /// coordinator has them.
  void progress(const Progress& progress);
  void metric(MetricPoint point);
  void epoch(EpochResult result);
  void notice(std::string line);
  /// Goes with every report from now on, so that the coordinator has it before any Finish.
  void interrupted(const Interruption& interruption);
  /// A heartbeat now rather than later; returns when the coordinator has all that was recorded.
  void flush(Deadline deadline);

  Directives directives();
  void checkpoint_taken();
  /// As if the coordinator had asked for a checkpoint.
  void want_checkpoint();

  /// True when this slice was the last and the checkpoint is committed. kFailedPrecondition with
  /// the object store's own words where it can't be.
  bool slice_written(const SliceWritten& slice, Deadline deadline);

  void finish(Outcome outcome, const std::string& failure, const std::string& artifact,
              const std::vector<MetricPoint>& final_metrics, Deadline deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "training_job.pb.h"
#include "workers.pb.h"

/// What happens to a job: a pure function from (state, event, time) to (state, actions). No I/O, no
/// clock, no threads; the coordinator stores the state before it performs the actions.
namespace musher {

/// Wall clock, as people read it and as it survives a restart.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;
using Status = v1::TrainingJobStatus;            ///< Status::InProgress …
using Secondary = v1::SecondaryStatus;           ///< Secondary::Downloading …
using RankOutcome = v1::FinishRequest::Outcome;  ///< v1::FinishRequest::COMPLETED …

/// One line of SageMaker's SecondaryStatusTransitions.
struct Transition {
  Secondary::Value status = Secondary::UNSPECIFIED;
  WallTime start;
  std::optional<WallTime> end;  ///< absent: it is the present one
  std::string message;
  bool operator==(const Transition&) const = default;
};

enum class StopReason { kNone, kRequested, kMaxRuntime };

/// All of a job that changes by events. A value; the store keeps it whole.
struct JobState {
  Status::Value status = Status::InProgress;
  Secondary::Value secondary = Secondary::Pending;
  std::vector<Transition> transitions;
  WallTime created;
  WallTime modified;
  std::optional<WallTime> training_start;  ///< the first attempt began
  std::optional<WallTime> training_end;    ///< the job was over

  int ranks = 1;
  int retries_left = 0;
  std::chrono::milliseconds max_runtime{86'400'000};  ///< over all attempts

  std::uint64_t attempt = 0;                ///< the newest, from 1; 0: none yet
  std::optional<WallTime> attempt_started;  ///< set while the attempt runs
  std::chrono::milliseconds ran{0};         ///< of the attempts that ended
  std::map<int, RankOutcome> finished;      ///< ranks of the present attempt that said Finish

  StopReason stop = StopReason::kNone;
  std::optional<WallTime> kill_at;  ///< the attempt is killed then, if it still runs
  bool killed = false;              ///< the present attempt was

  std::string failure;   ///< FailureReason: the first cause, at most 1024 bytes
  std::string artifact;  ///< URI, named by rank 0

  bool over() const {
    return status == Status::Completed || status == Status::Failed || status == Status::Stopped;
  }
  bool operator==(const JobState&) const = default;
};

/// Room was found: the attempt is to start.
struct Scheduled {};
/// Every rank of the attempt has joined and the generation is journaled.
struct RanksJoined {
  std::uint64_t attempt = 0;
};
/// Rank 0's phase: LOADING is Downloading; TRAINING, VALIDATING and SAVING are Training; UPLOADING
/// is Uploading. The coordinator reports LOADING itself while it lists the data.
struct PhaseReported {
  std::uint64_t attempt = 0;
  v1::ReportRequest::Phase phase = v1::ReportRequest::STARTING;
};
struct StopRequested {};
/// A rank said Finish.
struct RankFinished {
  std::uint64_t attempt = 0;
  int rank = 0;
  RankOutcome outcome = v1::FinishRequest::COMPLETED;
  std::string failure;
  std::string artifact;
};
/// The coordinator itself finds that the job can't succeed: no such bucket, a digest that does not
/// match.
struct JobFailed {
  std::string reason;
};
/// mpirun is gone, or could not be started. Its exit status says nothing and is not asked for.
struct AttemptEnded {
  std::uint64_t attempt = 0;
  /// A rank that died by itself before it said Finish, not by the coordinator's own SIGKILL. Then
  /// what the other ranks said of their failures is a symptom, and `reason` the cause.
  std::optional<int> lost_rank;
  /// For the person: the first failing rank, its exit code or signal, the last lines of its stderr.
  /// May be empty.
  std::string reason;
};
/// A new coordinator process found the job in its store.
struct CoordinatorRestarted {
  bool attempt_began = false;  ///< its mpirun was started, as far as the store knows
  bool attempt_alive = false;  ///< that mpirun still runs
};
/// Time has passed; due at next_tick().
struct Tick {};

using Event = std::variant<Scheduled, RanksJoined, PhaseReported, StopRequested, RankFinished,
                           JobFailed, AttemptEnded, CoordinatorRestarted, Tick>;

/// What the coordinator has to do, in this order, once the new state is stored.
struct Action {
  enum class Kind {
    kQueue,         ///< the job waits for slots: schedule
    kStartAttempt,  ///< start mpirun as attempt JobState::attempt
    kAskToStop,     ///< ReportReply.stop for every rank, and SIGTERM to mpirun's group: checkpoint,
                    ///< artifact, Finish
    kTellFailure,   ///< ReportReply.failure = `text` for every rank
    kKill,          ///< SIGKILL to mpirun's group; AttemptEnded must follow
    kNotice,        ///< `text` into the job's history
    kOver,          ///< nothing runs any more: free the slots, wake who waits, schedule
  };
  Kind kind = Kind::kNotice;
  std::string text;
  bool operator==(const Action&) const = default;
};

struct Decision {
  JobState state;
  std::vector<Action> actions;
};

/// How long ranks are given. The same for every job of a coordinator.
struct Grace {
  std::chrono::milliseconds stop{120'000};    ///< from SIGTERM to SIGKILL
  std::chrono::milliseconds failure{10'000};  ///< from the first failure to SIGKILL
  std::chrono::milliseconds exit{
      15'000};  ///< from the last Finish to SIGKILL: MPI_Finalize can hang
};

/// A job just submitted: InProgress / Pending.
JobState submitted(int ranks, int retries, std::chrono::milliseconds max_runtime, WallTime now);

/// The next state. An event of another attempt, or one that means nothing now, leaves the state as
/// it is and asks nothing, so that repeated and late messages do no harm.
Decision decide(JobState state, const Event& event, WallTime now, const Grace& grace = {});

/// When Tick is due: the end of a grace period, or of the job's run time. Absent: only events move
/// this job.
std::optional<WallTime> next_tick(const JobState& state);

/// Whether SageMaker's life cycle, with the edges that lifecycle.cpp lists, has this one.
bool legal_edge(Secondary::Value from, Secondary::Value to);

/// The TrainingJobStatus that belongs to a secondary one.
Status::Value status_of(Secondary::Value secondary);

/// Time that attempts ran, the present one included.
std::chrono::milliseconds billable(const JobState& state, WallTime now);

}  // namespace musher

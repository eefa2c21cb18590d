#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
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
inline WallTime wall_now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}
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

/// A rank that died or was killed before it said Finish.
struct Loss {
  WallTime at;
  std::string what;  ///< `was killed by signal 9 (Killed)`, `hung: no heartbeat for 30 s; it was …`
  bool seen = true;  ///< false: nobody saw how; `what` is what the others noticed
  bool operator==(const Loss&) const = default;
};

enum class StopReason { kNone, kRequested, kMaxRuntime, kMaxWait, kMaxPending };

/// All of a job that changes by events. A value; the store keeps it whole.
struct JobState {
  Status::Value status = Status::InProgress;
  Secondary::Value secondary = Secondary::Pending;
  std::vector<Transition> transitions;
  WallTime created;
  WallTime modified;
  std::optional<WallTime> training_start;  ///< the first attempt began
  std::optional<WallTime> training_end;    ///< the job was over

  int ranks = 1;  ///< as many as are wanted; `musher resize` changes it
  int retries_left = 0;
  std::chrono::milliseconds max_runtime{86'400'000};  ///< over all attempts

  std::chrono::milliseconds max_wait{0};     ///< from `created` on; 0: no limit
  std::chrono::milliseconds max_pending{0};  ///< from `created` to the first attempt; 0: no limit

  std::uint64_t attempt = 0;                ///< the newest, from 1; 0: none yet
  std::optional<WallTime> attempt_started;  ///< set while the attempt runs
  std::chrono::milliseconds ran{0};         ///< of the attempts that ended
  /// Who takes part: those that the attempt was started with, then those of the newest generation.
  std::set<int> members;
  std::map<int, RankOutcome> finished;  ///< ranks of the present attempt that said Finish
  std::map<int, Loss> lost;             ///< ranks of the present attempt that died before that

  /// Why the present attempt's ranks stop, where something other than the coordinator told them to.
  std::string interruption;
  bool spot_interruption = false;  ///< EC2 takes a host back: costs none of retries_left

  StopReason stop = StopReason::kNone;
  std::optional<WallTime> kill_at;  ///< the attempt is killed then, if it still runs
  bool killed = false;              ///< the present attempt was

  std::string failure;   ///< FailureReason: the first cause, at most 1024 bytes
  std::string artifact;  ///< URI, named by every rank that says COMPLETED or STOPPED

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
/// The survivors of a loss, or members with newcomers, go on together; the generation is journaled.
struct Regrouped {
  std::uint64_t attempt = 0;
  std::set<int> members;
  std::map<int, Loss> lost;  ///< those that were left out because they are dead
  std::set<int> left;        ///< those that were told to leave
};
/// A rank is gone, or is being killed, before its Finish. Said again with more known, it replaces
/// what was only noticed.
struct RankLost {
  std::uint64_t attempt = 0;
  int rank = 0;
  std::string what;
  bool seen = true;
};
/// Another number of ranks is wanted. The caller has checked it.
struct Resized {
  int ranks = 1;
};
/// The leader's phase: LOADING is Downloading; TRAINING, VALIDATING and SAVING are Training;
/// UPLOADING is Uploading. The coordinator reports LOADING itself while it lists the data.
struct PhaseReported {
  std::uint64_t attempt = 0;
  v1::ReportRequest::Phase phase = v1::ReportRequest::STARTING;
};
/// By a person, or by a scheduler beside Musher's own that ends the job.
struct StopRequested {
  StopReason reason = StopReason::kRequested;
  std::string message = "A stop was requested.";
};
/// What a job that waits waits for, where a scheduler beside Musher's own says so.
struct WaitingExplained {
  std::string message;
};
/// Its own instances are being started: SageMaker's Starting, before the attempt begins.
struct Launching {
  std::string message;
};
/// A host's notice or a signal makes the ranks stop.
struct InterruptionNoticed {
  std::uint64_t attempt = 0;
  std::string reason;
  bool spot = false;
};
/// A rank said Finish: COMPLETED and STOPPED only once all have made sure that the artifact stands.
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
  /// A rank that died by itself before it said Finish, not by the coordinator's own SIGKILL, and
  /// that the others did not go on without. Then what the other ranks said of their failures is a
  /// symptom, and `reason` the cause.
  std::optional<int> lost_rank;
  /// For the person: the first failing rank, its exit code or signal, the last lines of its stderr.
  /// May be empty.
  std::string reason;
  /// No rank was started, for a host did not answer, or a scheduler took the hosts back: costs none
  /// of retries_left.
  bool unbegun = false;
  /// What befell its hosts, which is the cause also where all ranks say that they were told to
  /// stop. May be empty; `reason` begins with it.
  std::string hosts = {};
};
/// A new coordinator process found the job in its store.
struct CoordinatorRestarted {
  bool attempt_began = false;  ///< its mpirun was started, as far as the store knows
  bool attempt_alive = false;  ///< that mpirun still runs
};
/// Time has passed; due at next_tick().
struct Tick {};

using Event = std::variant<Scheduled, RanksJoined, Regrouped, RankLost, Resized, PhaseReported,
                           StopRequested, WaitingExplained, Launching, InterruptionNoticed,
                           RankFinished, JobFailed, AttemptEnded, CoordinatorRestarted, Tick>;

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

/// The first of the ranks that died and that the others have not yet gone on without; absent: none.
std::optional<int> first_pending_loss(const JobState& state);

/// Whether the job waits for an attempt to begin.
bool waits_to_start(const JobState& state);

/// Whether every member has said Finish or is lost: nothing more will come of the attempt.
bool all_done(const JobState& state);

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

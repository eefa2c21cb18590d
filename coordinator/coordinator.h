#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/deadline.h"
#include "common/error.h"
#include "common/log.h"
#include "common/thread.h"
#include "coordinator/active_job.h"
#include "coordinator/counts.h"
#include "coordinator/fleet_ledger.h"
#include "coordinator/hosts.h"
#include "coordinator/job_store.h"
#include "coordinator/refusals.h"
#include "coordinator/scheduler.h"
#include "fleet/keeper.h"
#include "jobs.pb.h"
#include "launch/mpirun.h"
#include "launch/slurm.h"
#include "storage/config.h"
#include "workers.pb.h"

namespace musher {

class MetricsPage;
struct ReportContents;

/// Attempts as batch jobs of Slurm.
struct SlurmSettings {
  SlurmOptions ask;
  std::filesystem::path folder;               ///< this machine and all nodes have it at this path
  std::chrono::milliseconds interval{2'000};  ///< from one look at Slurm's queue to the next
  /// The most that an attempt asks for; 0: as much as the job may still run. What is cut off goes
  /// on with the next attempt, where it has a place for checkpoints.
  std::chrono::seconds time_limit{0};
};

/// Instances of EC2 for a job that names their type, for as long as it needs them.
struct RentSettings {
  FleetSettings fleet;  ///< all but what a job says: name, number, type, spot
  AwsAccess aws;
  std::filesystem::path folder;  ///< of the key to them
  std::string ssh_user;
  int max_instances = 0;      ///< of all jobs at once
  int max_disk_gib = 16'384;  ///< of an instance's volume
  std::chrono::seconds capacity_wait{3'600};
  std::chrono::seconds set_up_wait{1'800};  ///< for a running instance to be ready
  std::chrono::seconds replace_after{180};  ///< that it does not answer, or is found unfit
  int max_replaced = 4;  ///< of a job's instances in a row, without an attempt that could begin
  std::chrono::milliseconds pause{5'000};  ///< from one look at AWS to the next
};

struct CoordinatorOptions {
  std::filesystem::path state;  ///< folder of the store, the jobs' logs and manifests
  StorageConfig storage;
  std::vector<HostSlots> hosts;
  std::filesystem::path hostfile;  ///< where `hosts` is from, and is read again; may be empty
  HostAccess access;               ///< to those that are other machines
  /// Present: Slurm decides when and where attempts run, and `hosts` is one that stands for it.
  std::optional<SlurmSettings> slurm;
  std::optional<RentSettings> rent;            ///< absent: all jobs run on `hosts`
  int cores = 1;                               ///< of this machine
  std::string mpirun;                          ///< path
  std::string trainer;                         ///< path of musher-trainer
  std::vector<std::string> trainer_arguments;  ///< further ones, of every rank
  /// The ranks' TLS folder, see rpc/tls.h; empty: they reach the server on loopback, without TLS.
  std::filesystem::path worker_tls;
  /// Folder on this machine for what each mpirun keeps while it runs. It may be there, and is the
  /// same for the next coordinator of this state.
  std::filesystem::path scratch;
  Grace grace;
  std::chrono::milliseconds join_limit{120'000};  ///< for all ranks of an attempt to join
  /// For the others to go on after a rank died; the attempt ends when they do not.
  std::chrono::milliseconds regroup_limit{60'000};
  Policy policy;  ///< of the queue
  double heartbeat_seconds = 1;
  bool die_together = false;    ///< mpirun ends when this process does
  bool ranks_are_here = false;  ///< they were started by hand: no mpirun is started or killed
};

/// A host that did not answer: it has no slots until it is tried again.
struct LostHost {
  WallTime until;
  std::string why;
};

/// What came of preparing the hosts of an attempt.
struct Staging {
  std::vector<HostAnswer> answers;
  NetworkChoice network;
  std::string failure;  ///< not empty: no host is to blame, and the attempt can't be started
};

/// What a submission has beside the job.
struct Submission {
  std::optional<int> workers;  ///< --workers
  /// Not empty: the same submission may come again, and makes one job.
  std::string client_token;
  std::string submitter = {};  ///< whom the job counts for in the queue
  int priority = 0;            ///< -100 to 100
};

/// Owns the jobs of one state folder: takes them, schedules them, starts their attempts, answers
/// their ranks. What happens is decided by pure functions (lifecycle, scheduler, membership); this
/// class stores their decisions and then carries them out. All public calls are thread-safe and
/// throw `Error`. Made in the order: Coordinator, which recovers what the store holds and can then
/// answer; the server; start().
class Coordinator {
 public:
  Coordinator(CoordinatorOptions options, Logger logger);
  /// Leaves running attempts alone, unless they are to die together with it: those are killed.
  ~Coordinator();

  /// From now on attempts are started; their ranks are told `address`.
  void start(const std::string& address);

  // What people ask for.
  /// Returns the job's name. That of the job that is there already where its client token is known:
  /// kAlreadyExists if that is another job by more than its name, or if the name is taken.
  std::string create(const v1::CreateTrainingJobRequest& request,
                     const Submission& submission = {});
  v1::DescribeTrainingJobResponse describe(const std::string& name);
  /// A job's metrics by time, in chunks, until `take` says false; the last chunk may be empty.
  /// `only`: those of one name; empty: all.
  void metrics(const std::string& name, const std::string& only,
               const std::function<bool(const v1::MetricsChunk&)>& take);
  /// One page of HTML, of a job in whatever state.
  std::string report(const std::string& name);
  v1::ListTrainingJobsResponse list(const v1::ListTrainingJobsRequest& request);
  void stop(const std::string& name);
  /// SIGKILL now: the second Ctrl-C.
  void kill(const std::string& name);
  /// Another number of ranks: of a job that waits, from its start on; of one that runs, ranks come
  /// and go. kInvalidArgument, kFailedPrecondition for a job that is ending or over, and
  /// kResourceExhausted where there are not enough free slots; nothing has changed then.
  void resize(const std::string& name, int ranks);
  void remove(const std::string& name);
  /// What runs and what waits, in the order in which it is to start.
  v1::QueueReply queue();
  /// With the notices from `first_notice` on.
  v1::JobProgress progress(const std::string& name, std::size_t first_notice = 0);
  /// kNotFound for a job that does not exist.
  std::filesystem::path log_file(const std::string& name);

  /// Changes whenever anything about any job does; wait_for_change returns the present value when
  /// it is not `seen` any more, or at the deadline, or when the coordinator ends.
  std::uint64_t version();
  std::uint64_t wait_for_change(std::uint64_t seen, Deadline deadline);

  // What ranks ask for. A caller that is not of the present attempt and generation is answered
  // `stale`. kUnavailable: not yet, ask again.
  /// Takes the caller in, and answers once, when the other ranks have joined and the manifests are
  /// made, or at the deadline: at once, or later from another thread, so that no rank that waits
  /// costs a thread. Throws where it is refused at once; `answer` is then not called.
  using JoinAnswer = std::function<void(std::variant<v1::JoinReply, Error>)>;
  void join(const v1::JoinRequest& request, Deadline deadline, JoinAnswer answer);
  v1::Assignment assignment(const v1::AssignmentRequest& request);
  /// The channels of the job, for GetShards; null for a stale caller.
  std::shared_ptr<const JobChannels> channels(const v1::RankId& id);
  v1::RegroupReply regroup(const v1::RegroupRequest& request);
  v1::ReportReply report(const v1::ReportRequest& request);
  v1::SliceReply slice(const v1::SliceReport& report);
  v1::FinishReply finish(const v1::FinishRequest& request);

  /// Of calls, since it started.
  Refusals& refusals() { return refusals_; }
  /// What there is now and what happened so far, for GET /metrics.
  void add_metrics(MetricsPage& page);
  const Logger& logger() const { return logger_; }

  /// The token of the newest attempt, for ranks that were started by hand.
  std::string token(const std::string& name);

  /// Whether a thread of its own still waits for an object store or for AWS, which the destructor
  /// would wait for in turn: up to StorageConfig::retry_limit, or for minutes.
  bool busy();

  /// Ends all waits, so that the server can shut down. Nothing is started any more.
  void shut_down();

 private:
  using JobPtr = std::shared_ptr<ActiveJob>;
  using Lock = std::unique_lock<std::mutex>;

  /// A Join that was taken, and whose caller waits for the answer.
  struct WaitingJoin {
    v1::RankId id;
    bool newcomer = false;
    JobPtr job;
    Deadline deadline;
    JoinAnswer answer;
  };

  // coordinator.cpp. "REQUIRES: mutex_ is held" for all that follow, but for those marked (free).
  JobPtr find(const std::string& name);
  JobPtr activate(JobRecord record);
  std::optional<std::string> submitted_before(const v1::CreateTrainingJobRequest& request,
                                              const std::string& client_token);
  void recover();
  void notify();

  // coordinator_events.cpp
  void run_events(const std::stop_token& stop);  // (free)
  std::chrono::milliseconds handle_due(WallTime now);
  void schedule_jobs();
  /// On the hosts that jobs share, or on instances of their own.
  std::vector<QueuedJob> queued_jobs(WallTime now, bool rented = false);
  std::vector<RunningJob> running_jobs(bool rented = false) const;
  void tell_too_large(const JobPtr& job, const std::vector<HostSlots>& hosts);
  void apply(const JobPtr& job, const Event& event);
  void perform(const JobPtr& job, const Action& action);
  void add_notice(const JobPtr& job, const std::string& text);
  void show_notice(const JobPtr& job, const std::string& text);
  void log_line(const JobPtr& job, const std::string& text);

  // coordinator_attempts.cpp
  std::filesystem::path job_folder(const std::string& name) const;
  std::filesystem::path session_folder(const ActiveJob& job) const;
  std::filesystem::path attempt_folder(const ActiveJob& job) const;
  void start_attempt(const JobPtr& job);
  MpirunOptions mpirun_of(const ActiveJob& job, std::uint64_t attempt, MpirunOptions mpirun) const;
  void spawn(const JobPtr& job, AttemptRecord record, MpirunOptions mpirun);
  void adopt_attempt(const JobPtr& job);
  void take_output(const std::string& name, std::uint64_t attempt,
                   const std::vector<LogEntry>& entries,
                   const LogMetrics& metrics);  // (free)
  void save_log_metrics(const JobPtr& job);
  void watch(const JobPtr& job, std::shared_ptr<AttemptProcesses> processes, SourceEnds logged);
  void prepare(const JobPtr& job);
  void retire(Helper& helper);
  void prepared(const std::string& name, std::uint64_t attempt, Preparation preparation);  // (free)
  void attempt_ended(const std::string& name, std::uint64_t attempt);                      // (free)
  std::string end_reason(const JobPtr& job, std::optional<int> lost);
  void end_attempt(const JobPtr& job);
  void settle_attempt(const JobPtr& job);
  void kill_attempt(const JobPtr& job);

  // coordinator_report.cpp
  ReportContents report_contents(const std::string& name);  // (free)
  void publish(const JobPtr& job);
  void publish_now(const std::string& name, const Uri& output);  // (free)

  // coordinator_ranks.cpp
  Standing stand(const v1::RankId& id, const char* call, JobPtr& job);
  JobPtr current(const v1::RankId& id, const char* call);
  void take_join(const JobPtr& job, const v1::JoinRequest& request);
  std::optional<v1::JoinReply> joined(const WaitingJoin& waiting);
  std::vector<std::function<void()>> joins_to_answer();
  v1::JoinReply join_reply(const JobPtr& job, int rank);
  double heartbeat_of(const ActiveJob& job, int rank) const;
  void take_signs(const JobPtr& job, const v1::ReportRequest& request);
  void give_directives(const JobPtr& job, int rank, v1::ReportReply& reply);
  void take_report(const JobPtr& job, const v1::ReportRequest& request);
  void add_validation_notice(const JobPtr& job, const v1::ReportRequest& request);
  void name_undecodable(const JobPtr& job, const v1::EpochReport& epoch);
  void take_epoch(const JobPtr& job, const v1::EpochReport& epoch, const Digest& whole);
  std::string commit(const JobPtr& job, const std::vector<SliceRecord>& slices, Lock& lock);

  // coordinator_recovery.cpp
  void take_generation(const JobPtr& job, const Regrouping& answer, const std::string& cause);
  void restore_membership(const JobPtr& job, const AttemptRecord& record);
  void tell_recovery(const JobPtr& job, const v1::Recovery& recovery);
  void tell_rest(const JobPtr& job);
  void lose_rank(const JobPtr& job, int rank, const std::string& what, bool fatal = false);
  void rank_ended(const std::string& name, std::uint64_t attempt, const RankExit& exit);  // (free)
  void watch_ranks(const JobPtr& job);
  void look_for_hang(const JobPtr& job, Deadline::Clock::time_point now);
  void watch_joins(const JobPtr& job, Deadline::Clock::time_point now);

  // coordinator_places.cpp
  void note_host_names(const JobPtr& job, const std::vector<HostAnswer>& answers);
  void recall_hosts(const JobPtr& job);
  std::vector<std::string> hosts_of(const ActiveJob& job) const;
  std::string named_host(const ActiveJob& job, const std::string& told) const;
  std::map<std::string, int> held_slots(const ActiveJob& job) const;
  void release_slots(const JobPtr& job);
  void save_placement(const JobPtr& job, const std::vector<HostSlots>& placement);
  bool can_kill(const JobPtr& job, int rank);
  void kill_rank(const JobPtr& job, int rank);
  void kill_elsewhere(const JobPtr& job, const Member& member);
  void rank_killed(const std::string& name, std::uint64_t attempt, int rank,  // (free)
                   const HostAnswer& answer);
  void end_left_out(const JobPtr& job, Deadline::Clock::time_point now);
  std::optional<ProcessIdentity> process_of(const ActiveJob& job, const Member& member) const;

  // coordinator_hosts.cpp
  std::filesystem::path token_file(const ActiveJob& job) const;
  std::filesystem::path staged_folder(const std::string& token) const;
  std::filesystem::path staged_folder(const ActiveJob& job) const;
  void stage(const JobPtr& job, AttemptRecord record);
  bool staged(const std::string& name, const AttemptRecord& record,
              const Staging& staging);  // (free)
  MpirunOptions mpirun_on(const JobPtr& job, const Staging& staging);
  void leave_hosts(const std::string& name, std::uint64_t attempt,  // (free)
                   const HostAccess& access, const std::vector<std::string>& hosts,
                   const std::filesystem::path& folder);
  void lose_host(const JobPtr& job, const std::string& host, const std::string& why);
  void read_hosts();
  void shrink_to_hosts(const JobPtr& job, const std::vector<HostSlots>& usable);

  // coordinator_fleets.cpp
  void open_fleets();
  bool rents(const v1::CreateTrainingJobRequest& request) const;
  void check_rent(const v1::CreateTrainingJobRequest& request) const;
  RentedFleet fleet_wanted(const ActiveJob& job) const;
  FleetSettings settings_of(const RentedFleet& fleet) const;
  HostAccess access_of(const ActiveJob& job);
  void settle_fleets(WallTime now);
  void release_fleets(FleetLedger& ledger, FleetTime now);
  void save_fleets(FleetLedger ledger);
  void tend_fleet(const JobPtr& job);
  void tell_launch(const JobPtr& job, const std::string& message);
  void fleet_told(const FleetNews& news);  // (free)
  void take_news(const JobPtr& job, const FleetNews& news);
  std::chrono::milliseconds watch_fleets(WallTime now);

  // coordinator_rented_hosts.cpp
  void miss_rented_host(const JobPtr& job, const std::string& host, const std::string& why);
  void all_hosts_answer(const JobPtr& job);
  bool replace_rented(const JobPtr& job, const std::string& id, const std::string& why);
  void check_room(const ActiveJob& job, int ranks) const;

  // coordinator_slurm.cpp
  void open_slurm();
  std::string slurm_name(const std::string& job, const AttemptRecord& record) const;
  JobPtr find_in_slurm(const std::string& name) const;
  void submit_to_slurm(const JobPtr& job);
  void hand_in(const JobPtr& job, const AttemptRecord& record);
  std::map<std::string, std::string> slurm_files(const ActiveJob& job,
                                                 const AttemptRecord& record) const;
  void withdraw_from_slurm(const JobPtr& job);
  void recall_from_slurm(const JobPtr& job);
  void watch_in_slurm(const JobPtr& job, SourceEnds logged);
  bool begun_by(const JobPtr& job, const v1::RankId& id);
  void slurm_submitted(const SlurmReceipt& receipt);       // (free)
  void slurm_listed(const std::vector<SlurmJob>& listed);  // (free)
  void slurm_away(const std::string& error);               // (free)
  void take_slurm_state(const JobPtr& job, const SlurmJob& found);
  void lose_slurm_job(const JobPtr& job);
  void explain_waiting(const JobPtr& job, const std::string& message);
  void watch_slurm_limit(const JobPtr& job, const SlurmJob& found);
  void end_in_slurm(const JobPtr& job, const SlurmJob& found);

  // coordinator_size.cpp
  void keep_size(const JobPtr& job);
  void save_newcomer(const JobPtr& job, const NewcomerRecord& newcomer);
  void end_newcomer(const JobPtr& job, int rank, const std::string& why);
  void give_up_newcomer(const JobPtr& job, int rank, const std::string& why);
  void drop_newcomers(const JobPtr& job, std::size_t keep);
  void watch_newcomers(const JobPtr& job, Deadline::Clock::time_point now);

  // coordinator_interruptions.cpp
  void take_interruption(const JobPtr& job, int rank, const v1::Interruption& told);
  bool usable(const std::string& host) const;
  std::vector<HostSlots> usable_hosts() const;
  std::chrono::milliseconds welcome_hosts(WallTime now);
  void mpirun_told_to_end(const std::string& name, std::uint64_t attempt);  // (free)

  const CoordinatorOptions options_;
  const Logger logger_;
  JobStore store_;
  Refusals refusals_;
  CoordinatorCounts counts_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t version_ = 1;
  bool ending_ = false;
  bool schedule_wanted_ = false;
  Deadline::Clock::time_point output_noticed_;  // when who waits was last told of output
  WallTime scheduled_;                          // when the queue was last looked at
  std::string address_;
  std::map<std::string, WallTime> leaving_hosts_;  // that EC2 takes back → when to try them again
  std::vector<HostSlots> hosts_;                   // as the hostfile has them now
  std::filesystem::file_time_type hosts_read_;     // the hostfile's time then
  std::map<std::string, LostHost> lost_hosts_;
  std::map<std::string, JobPtr> jobs_;  // those that are not over
  std::vector<WaitingJoin> waiting_joins_;
  /// Threads that have ended or soon will; joined by the event thread, without the lock.
  std::vector<std::shared_ptr<void>> retired_;
  std::vector<Helper> helpers_;
  /// Jobs that are over and whose report is being written → how long who follows them waits for it.
  std::map<std::string, Deadline> publishing_;
  std::string slurm_mark_;  ///< by which this state's jobs are known in Slurm
  bool slurm_is_away_ = false;
  std::string fleet_mark_;  ///< by which this state's fleets are known in AWS
  FleetLedger fleets_;      ///< as it is written down
  Thread events_;
  std::unique_ptr<SlurmDesk> slurm_;
  std::unique_ptr<FleetKeeper> keeper_;
};

}  // namespace musher

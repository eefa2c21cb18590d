#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/deadline.h"
#include "common/thread.h"
#include "coordinator/attempt.h"
#include "coordinator/channels.h"
#include "coordinator/job_log.h"
#include "coordinator/job_store.h"
#include "coordinator/log_metrics.h"
#include "coordinator/membership.h"
#include "coordinator/newcomers.h"
#include "coordinator/process.h"
#include "coordinator/slurm_processes.h"
#include "job/job.h"

namespace musher {

/// What is known of a rank by its calls.
struct RankLife {
  Deadline::Clock::time_point heard;  ///< its last call
  bool joined = false;                ///< it was answered, so it sends heartbeats
  v1::ReportRequest::Phase phase = v1::ReportRequest::STARTING;
  std::uint64_t step = 0;
  v1::ReportRequest::Activity activity = v1::ReportRequest::UNKNOWN;
  std::chrono::milliseconds activity_for{0};  ///< without a sign of life
  /// Where it runs on this machine, and is not this process: by which it can be killed.
  std::optional<ProcessIdentity> process;
};

/// What an attempt needs beside its processes; made in a thread while they start.
struct Preparation {
  std::shared_ptr<const JobChannels> channels;
  std::vector<std::string> resume_candidates;  ///< URIs of checkpoints, newest first
  std::vector<std::string> notices;
  std::string failure;  ///< not empty: it could not be made, and the job can't run
};

/// A thread that may wait long for an object store: it is only joined once it is done.
struct Helper {
  std::shared_ptr<Thread> thread;
  std::shared_ptr<std::atomic<bool>> done;
};

/// A rank that the others went on without.
struct LeftOut {
  Member member;
  std::optional<ProcessIdentity> process;  ///< where it runs on this machine
  Deadline::Clock::time_point since;
};

/// An attempt as a batch job of Slurm.
struct SlurmBatch {
  std::string name = {};       ///< that it has there
  std::int64_t id = 0;         ///< 0: not known yet
  bool handed_in = false;      ///< Slurm has it, or had it, as far as is known
  bool began = false;          ///< it is JobState's present attempt
  bool found_again = false;    ///< by a coordinator that was restarted, which has yet to tell
  std::string waits_for = {};  ///< as it was told last
  std::shared_ptr<SlurmProcesses> processes = nullptr;  ///< once it began

  SlurmTarget target() const { return {name, id}; }
};

/// Instances that are rented for the job alone.
struct RentedHosts {
  std::vector<std::string> hosts = {};          ///< all of them, once they are ready for an attempt
  std::string waits_for = {};                   ///< as it was told last
  std::map<std::string, std::string> ids = {};  ///< address → instance, as far as is known
  /// Those that EC2 calls running and that do not answer → since when.
  std::map<std::string, Deadline::Clock::time_point> silent_since = {};
};

/// A job that is not over, as the coordinator holds it in memory. Plain data; the coordinator's
/// mutex guards all of it.
struct ActiveJob {
  JobRecord record;
  Job job;
  std::shared_ptr<JobLog> log;
  std::shared_ptr<const LogMetrics> log_metrics;  ///< never null
  std::vector<std::string> notices;
  /// (time, text) of those that ranks sent, to know one that is sent again.
  std::set<std::pair<std::int64_t, std::string>> rank_notices;
  std::set<std::string> undecodable;  ///< samples that notices have named
  int queue_position = 0;
  bool told_too_large = false;

  std::optional<RentedHosts> rented;  ///< present: it runs on these and on no others

  // Of the attempt under way.
  std::vector<HostSlots> placement;
  bool over_hosts = false;  ///< it began with slots on other machines
  /// Of such an attempt: what a host calls itself, by which its ranks join → as the hostfile names
  /// it, by which it is reached.
  std::map<std::string, std::string> host_names;
  std::shared_ptr<Attempt> attempt;
  Helper preparing;
  Helper staging;                   ///< its hosts, where some are other machines
  std::string host_trouble;         ///< a host that was lost, and why
  bool unbegun = false;             ///< the attempt ends through no fault of it, and costs none
  std::optional<SlurmBatch> slurm;  ///< from its submission to Slurm to the attempt's end
  std::shared_ptr<const JobChannels> channels;  ///< kept between attempts
  bool prepared = false;
  std::vector<std::string> resume_candidates;
  std::optional<AttemptMembership> membership;
  Deadline::Clock::time_point ranks_watched;  ///< last, for a hang
  std::map<int, RankLife> ranks;
  Deadline::Clock::time_point started;
  Newcomers newcomers;
  std::map<int, NewcomerRecord> newcomer_records;  ///< all of the attempt, as stored
  std::map<int, std::string> given_up;             ///< newcomers that had joined: why
  std::set<int> leaving;                           ///< members that are told to leave
  /// Ranks that the others went on without, and when: what still runs of them is ended.
  std::map<int, LeftOut> left_out;
  /// When the members of the present generation were told to give their collective up.
  std::optional<Deadline::Clock::time_point> regroup_asked;
  bool killed = false;                 ///< by the coordinator: what ends now says nothing
  std::string why_killed;              ///< where no rank's loss says it
  std::optional<AttemptEnded> ending;  ///< no process of it is left, and the store has to learn it
  bool over_soon = false;              ///< ranks started by hand: the attempt is to be called ended
  bool stop = false;
  std::string failure;

  // Of the leader's newest report.
  v1::ReportRequest latest;

  const std::string& name() const { return record.name(); }
  JobState& state() { return record.state; }
  const JobState& state() const { return record.state; }
};

}  // namespace musher

// Instances of a job's own that EC2 calls running and that are no good: they are replaced, so many
// in a row. And how many ranks there is room for on those that a job has.

#include <algorithm>

#include <fmt/format.h>

#include "coordinator/coordinator.h"

namespace musher {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using Clock = Deadline::Clock;

/// From when a host did not answer until it is tried again, where it is to be replaced after `all`.
milliseconds pause_of(seconds all) {
  return std::clamp(milliseconds(all) / 2, milliseconds(500), milliseconds(60'000));
}

}  // namespace

/// It did not answer, or is not fit for an attempt: it is tried again for a while, then replaced.
void Coordinator::miss_rented_host(const JobPtr& job, const std::string& host,
                                   const std::string& why) {
  const seconds patience = options_.rent->replace_after;
  lost_hosts_[host].until = wall_now() + pause_of(patience);
  const auto now = Clock::now();
  const auto since = job->rented->silent_since.try_emplace(host, now).first->second;
  const auto id = job->rented->ids.find(host);
  if (now - since < patience || id == job->rented->ids.end()) return;
  const auto waited = std::chrono::floor<seconds>(now - since);
  if (replace_rented(job, id->second,
                     fmt::format("it can't be used for {} s: {}", waited.count(), why))) {
    job->rented->silent_since.erase(host);
  }
}

/// An attempt begins on all of them: what was replaced so far was of use.
void Coordinator::all_hosts_answer(const JobPtr& job) {
  job->rented->silent_since.clear();
  FleetLedger ledger = fleets_;
  if (RentedFleet* fleet = fleet_of(ledger, job->name())) fleet->replaced.clear();
  save_fleets(std::move(ledger));
}

/// False: no more of them are, and the job has failed.
bool Coordinator::replace_rented(const JobPtr& job, const std::string& id, const std::string& why) {
  FleetLedger ledger = fleets_;
  RentedFleet* fleet = fleet_of(ledger, job->name());
  if (fleet == nullptr || fleet->replaced.contains(id)) return true;
  std::string host = id;
  for (const auto& [address, known] : job->rented->ids) {
    if (known == id) host = fmt::format("{} ({})", id, address);
  }
  if (!replace_instance(*fleet, id, options_.rent->max_replaced)) {
    apply(job, JobFailed{fmt::format(
                   "InternalServerError: instance {} is unhealthy: {}; {} before it were replaced "
                   "in a row, and no more are (max-replaced)",
                   host, why, fleet->replaced.size())});
    return false;
  }
  save_fleets(std::move(ledger));
  ++counts_.instances_replaced;
  add_notice(job, fmt::format("instance {} is replaced: {}", host, why));
  schedule_wanted_ = true;
  return true;
}

/// Throws where a job's own instances have no room for so many ranks: they are as many as the job
/// asked for, each with the ranks that it was to have.
void Coordinator::check_room(const ActiveJob& job, int ranks) const {
  if (!job.rented) return;
  const int instances = fleet_wanted(job).instances;
  const int room = instances * ((job.job.ranks + instances - 1) / instances);
  if (ranks <= room) return;
  throw Error(
      ErrorCode::kFailedPrecondition,
      fmt::format("job {} can't have {} ranks: its {} own instances have room for {}, and a "
                  "job's instances stay as many as ResourceConfig.InstanceCount; submit it "
                  "anew with more of them and the same CheckpointConfig",
                  job.name(), ranks, instances, room));
}

}  // namespace musher

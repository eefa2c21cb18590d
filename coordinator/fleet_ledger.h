#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/scheduler.h"
#include "fleet/plan.h"

/// Which job has which rented instances. Pure. The caller writes a change down before it asks AWS
/// for anything, so that what is rented is always known.
namespace musher {

/// A fleet of EC2 instances of a job's own.
struct RentedFleet {
  std::string name;      ///< in AWS
  std::string made_for;  ///< the job that it was made for, as its tag has it
  std::string job;       ///< whose it is; empty: nobody's, it is kept for a job alike
  std::string type;      ///< e.g. g5.xlarge
  int instances = 0;
  bool spot = false;
  int disk_gib = 0;                     ///< that the job asks for; 0: as the other settings have it
  std::string plan;                     ///< digest of all other settings
  std::optional<FleetTime> until;       ///< when all of it ends, once that is known
  std::optional<FleetTime> kept_until;  ///< of one that is nobody's
  /// Ids of instances that were no good, since an attempt last found all of them well.
  std::set<std::string> replaced;
  bool operator==(const RentedFleet&) const = default;
};

using FleetLedger = std::vector<RentedFleet>;

/// The fleet of a job; null: it has none.
RentedFleet* fleet_of(FleetLedger& ledger, const std::string& job);
RentedFleet* fleet_named(FleetLedger& ledger, const std::string& name);

/// Of the same type, number and kind, with volumes of the same size.
bool same_instances(const RentedFleet& a, const RentedFleet& b);

struct FleetLimits {
  int max_instances = 0;               ///< of all fleets together
  std::chrono::seconds least_left{0};  ///< that a kept fleet must still have to be taken again
};

/// Gives `wanted.job` a fleet: a kept one that is alike in type, number, spot, volumes and plan, as
/// a warm pool of SageMaker's is taken again, or `wanted` itself as a new one, for which kept ones
/// make room where it is needed, those that would end first before others. False where there is no
/// room; nothing has changed then.
bool take_fleet(FleetLedger& ledger, const RentedFleet& wanted, const FleetLimits& limits,
                FleetTime now);

/// Another instance is to come in place of this one. False where as many as `most` were replaced in
/// a row, and this one is not among them: to go on would cost, and not help.
bool replace_instance(RentedFleet& fleet, const std::string& id, int most);

/// Its job is over: it is kept until then, or goes.
void release_fleet(FleetLedger& ledger, const std::string& job, std::optional<FleetTime> kept_until,
                   FleetTime now);

/// Drops what is nobody's and was kept long enough.
void drop_expired(FleetLedger& ledger, FleetTime now);
/// When that is next due; absent: nothing is kept.
std::optional<FleetTime> next_expiry(const FleetLedger& ledger);

int rented_instances(const FleetLedger& ledger);

/// A name for a fleet that AWS takes and people recognise: at most 32 characters, of which the last
/// eight tell it from others. The same for the same job of the same coordinator.
std::string fleet_name(const std::string& job, const std::string& coordinator, FleetTime created);

/// The ranks evenly over the hosts; those without a rank are left out.
std::vector<HostSlots> spread_evenly(const std::vector<std::string>& hosts, int ranks);

/// As JSON, to be kept in a file. parse throws kDataLoss.
std::string ledger_text(const FleetLedger& ledger);
FleetLedger parse_ledger(const std::string& text);

}  // namespace musher

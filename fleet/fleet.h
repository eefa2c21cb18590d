#pragma once

#include <functional>
#include <string>
#include <vector>

#include "fleet/aws.h"
#include "fleet/parts.h"
#include "fleet/plan.h"

namespace musher {

struct FleetInstance {
  std::string id;
  std::string address;  ///< private
  std::string state;    ///< pending, running, …
  std::string type;
  std::string zone;
  std::string fleet;
  std::string until;  ///< as its tag has it
  bool spot = false;
  bool operator==(const FleetInstance&) const = default;
};

/// Hears what is done, a line each.
using FleetProgress = std::function<void(const std::string&)>;

/// Instances that are there or coming, of one fleet or, where `fleet` is empty, of all, by id.
std::vector<FleetInstance> fleet_instances(const AwsAccess& access, const std::string& fleet,
                                           Deadline deadline);

struct Fleet {
  std::vector<FleetInstance> instances;
  FleetTime until;
  int gpus = 0;     ///< of an instance
  int started = 0;  ///< instances, by this call
};

/// Makes what is missing of a fleet, instances in place of lost ones too, and ends instances that
/// are too many or to be replaced: the same call again changes nothing. New instances come all
/// together or not at all. A call that fails leaves what it has made; the next goes on, and
/// fleet_down() removes it. Throws kFailedPrecondition where a fleet of that name has other
/// settings, or its time is up.
Fleet fleet_up(const AwsAccess& access, const FleetSettings& settings, const FleetProgress& tell,
               Deadline deadline);

/// What fleet_up() would make; nothing is changed.
nlohmann::json fleet_dry_run(const AwsAccess& access, const FleetSettings& settings,
                             Deadline deadline);

/// Removes all that fleet_up() made, whatever is there of it, and waits until it is gone. Whatever
/// can't be removed does not keep the rest: the first error is thrown at the end.
void fleet_down(const AwsAccess& access, const std::string& fleet, const FleetProgress& tell,
                Deadline deadline);

}  // namespace musher

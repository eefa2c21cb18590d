#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/scheduler.h"
#include "endpoints.pb.h"

/// On which host an instance runs. Pure.
namespace musher {

/// Where instances may run.
struct Places {
  /// As the hostfile has them, in its order; empty: the coordinator's machine alone.
  std::vector<HostSlots> hosts = {};
  std::map<std::string, std::string> lost = {};  ///< hosts that can't be used now, and why
  std::map<std::string, int> others = {};        ///< instances of other endpoints, by host
};

/// The host of one more instance of this revision: of those that are there and have room, which is
/// as many instances of one endpoint's revision as a host has slots, the one with the fewest
/// instances of the endpoint, then of all endpoints, then the first. One whose instance is being
/// ended comes last, since it may be at fault itself. Absent: there is none.
std::optional<std::string> choose_host(const Places& places, const v1::EndpointRecord& record,
                                       int revision);

/// For people: what keeps `choose_host` from finding one.
std::string why_no_room(const Places& places, const v1::EndpointRecord& record, int revision);

/// Whether the instance is on a host that the hostfile no longer has.
bool is_misplaced(const Places& places, const v1::EndpointInstance& instance);

/// Whether it is on another machine than the coordinator's.
bool is_elsewhere(const v1::EndpointInstance& instance);

/// kInvalidArgument naming the field where these settings can't be had on these hosts: what is read
/// from a disk, on other machines; more instances than slots.
void check_places(const v1::EndpointSettings& settings, const std::vector<HostSlots>& hosts);

}  // namespace musher

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fleet/aws.h"
#include "fleet/plan.h"

/// What a fleet has beside its instances: a security group, a role with its profile, a placement
/// group, a launch template. Each is made where it is not there, and removed where it is; one of
/// the same name that is not the fleet's (by its tag) is never touched: kFailedPrecondition.
namespace musher {

/// Looks up image, network and type. Changes nothing. Throws kInvalidArgument naming the option.
FleetSurroundings look_around(const AwsAccess& access, const FleetSettings& settings,
                              Deadline deadline);

/// What is known of a fleet by its security group, the first thing that is made and the last that
/// goes.
struct FleetAnchor {
  std::string group;  ///< its id
  FleetTime until;
  std::string plan;
};
std::optional<FleetAnchor> find_anchor(const AwsAccess& access, const std::string& fleet,
                                       Deadline deadline);
/// Names of the fleets that have a further tag, whatever is left of them.
std::vector<std::string> fleets_with_tag(const AwsAccess& access, const std::string& tag,
                                         const std::string& value, Deadline deadline);
FleetAnchor make_anchor(const AwsAccess& access, const FleetSettings& settings,
                        const FleetSurroundings& around, FleetTime until, Deadline deadline);

void admit_callers(const AwsAccess& access, const FleetSettings& settings, const std::string& group,
                   Deadline deadline);
void let_out_to_itself(const AwsAccess& access, const std::string& group, Deadline deadline);
void make_role(const AwsAccess& access, const FleetSettings& settings, const std::string& region,
               FleetTime until, Deadline deadline);
void make_placement_group(const AwsAccess& access, const FleetSettings& settings, FleetTime until,
                          Deadline deadline);
void make_launch_template(const AwsAccess& access, const FleetSettings& settings,
                          const FleetSurroundings& around, const FleetAnchor& anchor,
                          Deadline deadline);

// Each says whether there was something to remove.
bool remove_launch_template(const AwsAccess& access, const std::string& fleet, Deadline deadline);
bool remove_placement_group(const AwsAccess& access, const std::string& fleet, Deadline deadline);
bool remove_role(const AwsAccess& access, const std::string& fleet, const std::string& region,
                 Deadline deadline);
bool remove_anchor(const AwsAccess& access, const std::string& fleet, Deadline deadline);

/// A filter of EC2's Describe calls.
nlohmann::json aws_filter(const std::string& name, const std::vector<std::string>& values);

}  // namespace musher

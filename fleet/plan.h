#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

/// What a fleet consists of, as the documents that AWS gets. Pure.
namespace musher {

using FleetTime = std::chrono::sys_seconds;

constexpr int kLeastDiskGib = 8;

/// Whether instances are started with Elastic Fabric Adapters, and their software is installed.
enum class EfaUse { kNo, kWhereThereIs, kAlways };

/// What is asked for.
struct FleetSettings {
  std::string name;
  int instances = 0;
  std::string type;  ///< e.g. g5.xlarge
  bool spot = false;
  double max_hours = 0;            ///< from when it is made; then all of it ends
  std::string image;               ///< AMI, or ssm:PARAMETER that has one; empty: newest Debian 12
  std::string subnet;              ///< empty: the default VPC's first one
  std::vector<std::string> admit;  ///< who may come in by ssh: CIDR or security group
  std::string instance_profile;    ///< one that is there; empty: made of `role_policy`
  nlohmann::json role_policy;      ///< what the instances may do, e.g. launch/iam's worker
  std::string software;            ///< s3://…tar.gz of launch/bundle; empty: it is in the image
  std::string root;                ///< where Musher is, here and on the hosts
  std::string cache;               ///< where its pinned environment is, likewise
  std::string public_key;          ///< by which the hosts let the caller in
  int disk_gib = 100;              ///< of an encrypted volume; see volume_gib()
  EfaUse efa = EfaUse::kNo;
  std::map<std::string, std::string> tags;  ///< further ones
  /// Ids of instances that are no good though EC2 calls them running: they are ended, and others
  /// come in their place.
  std::set<std::string> replaced;
};

/// What AWS says about it.
struct FleetSurroundings {
  std::string region;
  std::string vpc;
  std::string subnet;
  std::string image;
  std::string root_device;  ///< of the image, e.g. /dev/xvda
  int image_gib = 0;        ///< size of that in the image
  int gpus = 0;             ///< of an instance
  bool cluster = false;     ///< the type may be in a cluster placement group
  int efa_interfaces = 0;   ///< that instances are to have; 0: they have no EFA
};

/// SageMaker's instance type as EC2 has it: ml.g5.xlarge is g5.xlarge. Empty where it is none, such
/// as `local`.
std::string ec2_type(const std::string& instance_type);

/// Throws kInvalidArgument naming the option that is wrong.
void check_fleet_name(const std::string& name);
void check_settings(const FleetSettings& settings);

/// Name of the security group, placement group and launch template.
std::string fleet_resource(const std::string& fleet);
/// Of the role and its instance profile: IAM has no regions.
std::string fleet_role(const std::string& fleet, const std::string& region);

// Tags of all that is made for a fleet: by these it is found again.
constexpr const char* kFleetTag = "musher:fleet";  ///< its name
constexpr const char* kUntilTag = "musher:until";  ///< when all of it ends, 2026-11-27T20:00:00Z
constexpr const char* kPlanTag = "musher:plan";    ///< digest of the settings but number and time
// Of a fleet that a coordinator rents for a job.
constexpr const char* kJobTag = "musher:job";                  ///< whose it was at first
constexpr const char* kCoordinatorTag = "musher:coordinator";  ///< the mark of its state folder

/// [{"Key": …, "Value": …}].
nlohmann::json fleet_tags(const FleetSettings& settings, FleetTime until);
std::optional<std::string> tag_of(const nlohmann::json& tagged, const std::string& key);

std::string plan_digest(const FleetSettings& settings);

std::string time_text(FleetTime time);
/// Absent where it is no time in that form.
std::optional<FleetTime> parse_time(const std::string& text);

/// With EFA traffic goes by the security group alone: all of it from the group to itself must be
/// allowed in both directions, and that anything may go anywhere does not count.
/// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html
nlohmann::json egress_rule(const std::string& group);

/// The fleet itself, by anything; the caller, by ssh. As AuthorizeSecurityGroupIngress has it.
nlohmann::json ingress_rules(const FleetSettings& settings, const std::string& group);

/// Who may take the role: EC2 instances.
nlohmann::json role_trust();

/// The first network card with an address, each further one for EFA alone, as AWS advises for types
/// with several: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html
nlohmann::json efa_interfaces(const FleetSurroundings& around, const std::string& group);

/// Metadata by IMDSv2 alone, an encrypted volume, an end that terminates, no key pair of EC2's.
nlohmann::json launch_template(const FleetSettings& settings, const FleetSurroundings& around,
                               const std::string& group, FleetTime until);

/// Size of an instance's volume: as asked for, but no less than the image's own, and with room for
/// Musher and its libraries beside that where the instance has yet to fetch them.
int volume_gib(const FleetSettings& settings, const FleetSurroundings& around);

/// Whether its instances are put close together.
bool wants_placement_group(const FleetSurroundings& around);

/// Name of the profile that instances get.
std::string profile_of(const FleetSettings& settings, const std::string& region);

}  // namespace musher

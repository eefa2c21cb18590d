#include "fleet/parts.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

namespace musher {

namespace {

using nlohmann::json;

/// Debian's own account: https://wiki.debian.org/Cloud/AmazonEC2Image
constexpr const char* kDebianAccount = "136693071363";
constexpr const char* kDebianImages = "debian-12-amd64-*";

/// Whether AWS did it; false where it said `code`, which is as good.
bool unless(const std::vector<std::string>& codes, const std::function<void()>& call) {
  try {
    call();
    return true;
  } catch (const AwsError& error) {
    if (std::find(codes.begin(), codes.end(), error.aws_code()) == codes.end()) throw;
    return false;
  }
}

/// REQUIRES: it has a fleet's name.
void check_ours(const json& tagged, const std::string& fleet, const std::string& what) {
  if (tag_of(tagged, kFleetTag) == fleet) return;
  throw Error(ErrorCode::kFailedPrecondition,
              fmt::format("the {} is not the fleet's: it has no tag {}={}, and is left alone", what,
                          kFleetTag, fleet));
}

json tag_specification(const char* type, const json& tags) {
  return {{{"ResourceType", type}, {"Tags", tags}}};
}

void look_at_type(const AwsAccess& access, const FleetSettings& settings, FleetSurroundings& around,
                  Deadline deadline) {
  json types;
  try {
    types = aws_call(access, "ec2", "describe-instance-types", {{"InstanceTypes", {settings.type}}},
                     deadline)
                .at("InstanceTypes");
  } catch (const AwsError& error) {
    if (error.aws_code() != "InvalidInstanceType") throw;
  }
  if (types.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--type: there is no {} in {}", settings.type, around.region));
  }
  const json& type = types.front();
  const json architectures =
      type.value("ProcessorInfo", json::object()).value("SupportedArchitectures", json::array());
  if (std::find(architectures.begin(), architectures.end(), "x86_64") == architectures.end()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--type {} is no x86_64, which Musher's libraries are for", settings.type));
  }
  for (const json& gpu : type.value("GpuInfo", json::object()).value("Gpus", json::array())) {
    around.gpus += gpu.value("Count", 0);
  }
  const json network = type.value("NetworkInfo", json::object());
  if (settings.efa != EfaUse::kNo && network.value("EfaSupported", false)) {
    around.efa_interfaces =
        network.value("EfaInfo", json::object()).value("MaximumEfaInterfaces", 1);
  } else if (settings.efa == EfaUse::kAlways) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--efa always: {} has no Elastic Fabric Adapter", settings.type));
  }
  const json strategies =
      type.value("PlacementGroupInfo", json::object()).value("SupportedStrategies", json::array());
  around.cluster = std::find(strategies.begin(), strategies.end(), "cluster") != strategies.end();
}

/// That of a parameter of Systems Manager.
std::string image_of_parameter(const AwsAccess& access, const std::string& name,
                               Deadline deadline) {
  try {
    const json found = aws_call(access, "ssm", "get-parameter", {{"Name", name}}, deadline);
    return found.at("Parameter").at("Value");
  } catch (const AwsError& error) {
    if (error.aws_code() != "ParameterNotFound") throw;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--image: there is no parameter {} in Systems Manager", name));
  }
}

void look_at_image(const AwsAccess& access, const FleetSettings& settings,
                   FleetSurroundings& around, Deadline deadline) {
  if (settings.image.empty() && around.gpus > 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--image is missing: {} has GPUs, and Debian's image has no NVIDIA "
                            "driver; name one with driver 580 or newer",
                            settings.type));
  }
  constexpr std::string_view kParameter = "ssm:";
  const std::string image_id =
      settings.image.starts_with(kParameter)
          ? image_of_parameter(access, settings.image.substr(kParameter.size()), deadline)
          : settings.image;
  json request = {{"ImageIds", {image_id}}};
  if (settings.image.empty()) {
    request = {
        {"Owners", {kDebianAccount}},
        {"Filters", {aws_filter("name", {kDebianImages}), aws_filter("state", {"available"})}}};
  }
  json images;
  try {
    images = aws_call(access, "ec2", "describe-images", request, deadline).at("Images");
  } catch (const AwsError& error) {
    if (error.code() != ErrorCode::kNotFound && error.aws_code() != "InvalidAMIID.Malformed") throw;
  }
  if (images.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--image: there is no {} in {}",
                    settings.image.empty() ? "Debian 12 image" : settings.image, around.region));
  }
  const json& image =
      *std::max_element(images.begin(), images.end(), [](const json& a, const json& b) {
        return a.value("CreationDate", "") < b.value("CreationDate", "");
      });
  around.image = image.at("ImageId");
  around.root_device = image.value("RootDeviceName", "/dev/xvda");
  for (const json& device : image.value("BlockDeviceMappings", json::array())) {
    if (device.value("DeviceName", "") != around.root_device) continue;
    around.image_gib = device.value("Ebs", json::object()).value("VolumeSize", 0);
  }
}

void look_at_network(const AwsAccess& access, const FleetSettings& settings,
                     FleetSurroundings& around, Deadline deadline) {
  json request = {{"SubnetIds", {settings.subnet}}};
  if (settings.subnet.empty()) request = {{"Filters", {aws_filter("default-for-az", {"true"})}}};
  json subnets;
  try {
    subnets = aws_call(access, "ec2", "describe-subnets", request, deadline).at("Subnets");
  } catch (const AwsError& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
  }
  if (subnets.empty()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        settings.subnet.empty()
            ? "--subnet is missing: there is no default VPC in " + around.region
            : fmt::format("--subnet: there is no {} in {}", settings.subnet, around.region));
  }
  const json& subnet =
      *std::min_element(subnets.begin(), subnets.end(), [](const json& a, const json& b) {
        return a.value("AvailabilityZone", "") < b.value("AvailabilityZone", "");
      });
  around.subnet = subnet.at("SubnetId");
  around.vpc = subnet.at("VpcId");
}

}  // namespace

json aws_filter(const std::string& name, const std::vector<std::string>& values) {
  return {{"Name", name}, {"Values", values}};
}

FleetSurroundings look_around(const AwsAccess& access, const FleetSettings& settings,
                              Deadline deadline) {
  FleetSurroundings around;
  around.region = aws_region(access, deadline);
  look_at_type(access, settings, around, deadline);
  look_at_image(access, settings, around, deadline);
  look_at_network(access, settings, around, deadline);
  return around;
}

std::optional<FleetAnchor> find_anchor(const AwsAccess& access, const std::string& fleet,
                                       Deadline deadline) {
  const json request = {{"Filters", {aws_filter("group-name", {fleet_resource(fleet)})}}};
  const json groups =
      aws_call(access, "ec2", "describe-security-groups", request, deadline).at("SecurityGroups");
  if (groups.empty()) return std::nullopt;
  const json& group = groups.front();
  const std::string id = group.at("GroupId");
  check_ours(group, fleet, "security group " + id);
  const auto until = parse_time(tag_of(group, kUntilTag).value_or(""));
  if (!until) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("the security group {} has no tag {} with a time", id, kUntilTag));
  }
  return FleetAnchor{id, *until, tag_of(group, kPlanTag).value_or("")};
}

std::vector<std::string> fleets_with_tag(const AwsAccess& access, const std::string& tag,
                                         const std::string& value, Deadline deadline) {
  const json request = {{"Filters", {aws_filter("tag:" + tag, {value})}}};
  const json groups =
      aws_call(access, "ec2", "describe-security-groups", request, deadline).at("SecurityGroups");
  std::vector<std::string> fleets;
  for (const json& group : groups) {
    const auto name = tag_of(group, kFleetTag);
    if (name && group.value("GroupName", "") == fleet_resource(*name)) fleets.push_back(*name);
  }
  return fleets;
}

FleetAnchor make_anchor(const AwsAccess& access, const FleetSettings& settings,
                        const FleetSurroundings& around, FleetTime until, Deadline deadline) {
  const json request = {
      {"GroupName", fleet_resource(settings.name)},
      {"Description", "Hosts of a Musher fleet: each other, and their coordinator by ssh"},
      {"VpcId", around.vpc},
      {"TagSpecifications", tag_specification("security-group", fleet_tags(settings, until))}};
  const json made = aws_call(access, "ec2", "create-security-group", request, deadline);
  return {made.at("GroupId"), until, plan_digest(settings)};
}

void admit_callers(const AwsAccess& access, const FleetSettings& settings, const std::string& group,
                   Deadline deadline) {
  for (const json& rule : ingress_rules(settings, group)) {
    unless({"InvalidPermission.Duplicate"}, [&] {
      aws_call(access, "ec2", "authorize-security-group-ingress",
               {{"GroupId", group}, {"IpPermissions", {rule}}}, deadline);
    });
  }
}

void let_out_to_itself(const AwsAccess& access, const std::string& group, Deadline deadline) {
  unless({"InvalidPermission.Duplicate"}, [&] {
    aws_call(access, "ec2", "authorize-security-group-egress",
             {{"GroupId", group}, {"IpPermissions", {egress_rule(group)}}}, deadline);
  });
}

void make_role(const AwsAccess& access, const FleetSettings& settings, const std::string& region,
               FleetTime until, Deadline deadline) {
  if (!settings.instance_profile.empty()) return;
  const std::string name = fleet_role(settings.name, region);
  const json tags = fleet_tags(settings, until);
  const bool made = unless({"EntityAlreadyExists"}, [&] {
    aws_call(access, "iam", "create-role",
             {{"RoleName", name},
              {"AssumeRolePolicyDocument", role_trust().dump()},
              {"Description", "What the hosts of a Musher fleet may do"},
              {"Tags", tags}},
             deadline);
  });
  if (!made) {
    const json found = aws_call(access, "iam", "get-role", {{"RoleName", name}}, deadline);
    check_ours(found.at("Role"), settings.name, "role " + name);
  }
  aws_call(access, "iam", "put-role-policy",
           {{"RoleName", name},
            {"PolicyName", "musher"},
            {"PolicyDocument", settings.role_policy.dump()}},
           deadline);
  unless({"EntityAlreadyExists"}, [&] {
    aws_call(access, "iam", "create-instance-profile",
             {{"InstanceProfileName", name}, {"Tags", tags}}, deadline);
  });
  // A profile holds one role.
  unless({"LimitExceeded"}, [&] {
    aws_call(access, "iam", "add-role-to-instance-profile",
             {{"InstanceProfileName", name}, {"RoleName", name}}, deadline);
  });
}

void make_placement_group(const AwsAccess& access, const FleetSettings& settings, FleetTime until,
                          Deadline deadline) {
  const std::string name = fleet_resource(settings.name);
  unless({"InvalidPlacementGroup.Duplicate"}, [&] {
    aws_call(
        access, "ec2", "create-placement-group",
        {{"GroupName", name},
         {"Strategy", "cluster"},
         {"TagSpecifications", tag_specification("placement-group", fleet_tags(settings, until))}},
        deadline);
  });
}

void make_launch_template(const AwsAccess& access, const FleetSettings& settings,
                          const FleetSurroundings& around, const FleetAnchor& anchor,
                          Deadline deadline) {
  const json request = {
      {"LaunchTemplateName", fleet_resource(settings.name)},
      {"LaunchTemplateData", launch_template(settings, around, anchor.group, anchor.until)},
      {"TagSpecifications",
       tag_specification("launch-template", fleet_tags(settings, anchor.until))}};
  unless({"InvalidLaunchTemplateName.AlreadyExistsException"},
         [&] { aws_call(access, "ec2", "create-launch-template", request, deadline); });
}

bool remove_launch_template(const AwsAccess& access, const std::string& fleet, Deadline deadline) {
  const json request = {{"Filters", {aws_filter("launch-template-name", {fleet_resource(fleet)})}}};
  const json found =
      aws_call(access, "ec2", "describe-launch-templates", request, deadline).at("LaunchTemplates");
  if (found.empty()) return false;
  const std::string id = found.front().at("LaunchTemplateId");
  check_ours(found.front(), fleet, "launch template " + id);
  aws_call(access, "ec2", "delete-launch-template", {{"LaunchTemplateId", id}}, deadline);
  return true;
}

bool remove_placement_group(const AwsAccess& access, const std::string& fleet, Deadline deadline) {
  const json request = {{"Filters", {aws_filter("group-name", {fleet_resource(fleet)})}}};
  const json found =
      aws_call(access, "ec2", "describe-placement-groups", request, deadline).at("PlacementGroups");
  if (found.empty()) return false;
  check_ours(found.front(), fleet, "placement group " + fleet_resource(fleet));
  aws_call(access, "ec2", "delete-placement-group", {{"GroupName", fleet_resource(fleet)}},
           deadline);
  return true;
}

bool remove_role(const AwsAccess& access, const std::string& fleet, const std::string& region,
                 Deadline deadline) {
  const std::string name = fleet_role(fleet, region);
  const std::vector<std::string> gone = {"NoSuchEntity"};
  json role;
  if (!unless(gone, [&] {
        role = aws_call(access, "iam", "get-role", {{"RoleName", name}}, deadline).at("Role");
      })) {
    return false;
  }
  check_ours(role, fleet, "role " + name);
  const json profile = {{"InstanceProfileName", name}};
  unless(gone, [&] {
    aws_call(access, "iam", "remove-role-from-instance-profile",
             {{"InstanceProfileName", name}, {"RoleName", name}}, deadline);
  });
  unless(gone, [&] { aws_call(access, "iam", "delete-instance-profile", profile, deadline); });
  unless(gone, [&] {
    aws_call(access, "iam", "delete-role-policy", {{"RoleName", name}, {"PolicyName", "musher"}},
             deadline);
  });
  aws_call(access, "iam", "delete-role", {{"RoleName", name}}, deadline);
  return true;
}

bool remove_anchor(const AwsAccess& access, const std::string& fleet, Deadline deadline) {
  const auto anchor = find_anchor(access, fleet, deadline);
  if (!anchor) return false;
  aws_call(access, "ec2", "delete-security-group", {{"GroupId", anchor->group}}, deadline);
  return true;
}

}  // namespace musher

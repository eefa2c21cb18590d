#include "fleet/plan.h"

#include <algorithm>
#include <iomanip>
#include <regex>
#include <sstream>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include "common/checksum.h"
#include "common/error.h"
#include "fleet/user_data.h"

namespace musher {

namespace {

using nlohmann::json;

constexpr std::size_t kLongestUserData = 16 << 10;  // EC2's limit
constexpr double kLongestHours = 28 * 24;           // SageMaker's longest job
constexpr int kSoftwareGib = 12;  // the pinned libraries are 5 GB, and are packed beside that once

void check(bool right, const std::string& message) {
  if (!right) throw Error(ErrorCode::kInvalidArgument, message);
}

std::string base64(const std::string& text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                       reinterpret_cast<const unsigned char*>(text.data()),
                                       static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

const std::regex& type_form() {
  static const std::regex form(R"([a-z][a-z0-9-]*\.[a-z0-9-]+)");
  return form;
}

/// A security group, or a network that is not everybody.
bool may_be_admitted(const std::string& who) {
  static const std::regex group("sg-[0-9a-f]+");
  static const std::regex network(R"(([0-9]{1,3}\.){3}[0-9]{1,3}/(8|9|[12][0-9]|3[0-2]))");
  return std::regex_match(who, group) || std::regex_match(who, network);
}

}  // namespace

std::string ec2_type(const std::string& instance_type) {
  const std::string type =
      instance_type.starts_with("ml.") ? instance_type.substr(3) : instance_type;
  return std::regex_match(type, type_form()) ? type : "";
}

void check_fleet_name(const std::string& name) {
  static const std::regex form("[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?");
  check(std::regex_match(name, form),
        "a fleet's name has at most 32 of a-z, 0-9 and, inside, -; not \"" + name + "\"");
}

void check_settings(const FleetSettings& settings) {
  static const std::regex parameter("ssm:/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*");
  static const std::regex software(R"(s3://[a-z0-9.-]+/[A-Za-z0-9!_.()/-]+\.tar\.gz)");
  check_fleet_name(settings.name);
  check(settings.instances >= 1 && settings.instances <= 1000,
        "--instances must be 1 to 1000: how many hosts the fleet has");
  check(std::regex_match(settings.type, type_form()),
        "--type must be an instance type such as g5.xlarge, not \"" + settings.type + "\"");
  check(settings.max_hours > 0 && settings.max_hours <= kLongestHours,
        "--max-hours must be more than 0 and at most 672: when it is over all instances end");
  check(!settings.admit.empty(),
        "--admit is missing: the coordinator's network, e.g. 10.0.1.7/32, or its security group");
  for (const std::string& who : settings.admit) {
    check(may_be_admitted(who),
          "--admit must be a security group such as sg-0f00 or a network of "
          "at least 8 bits such as 10.0.1.7/32, not \"" +
              who + "\"");
  }
  check(settings.instance_profile.empty() != settings.role_policy.is_null(),
        "give one of --role-policy (of launch/iam/render worker) and --instance-profile: what the "
        "instances may do");
  check(settings.software.empty() || std::regex_match(settings.software, software),
        "--software must be s3://BUCKET/KEY.tar.gz, not \"" + settings.software + "\"");
  check(!settings.image.starts_with("ssm:") || std::regex_match(settings.image, parameter),
        "--image must be an AMI or ssm: and the name of a parameter that has one, not \"" +
            settings.image + "\"");
  check(settings.disk_gib >= kLeastDiskGib,
        fmt::format("--disk must be at least {} (GiB)", kLeastDiskGib));
}

std::string fleet_resource(const std::string& fleet) {
  return "musher-" + fleet;
}

std::string fleet_role(const std::string& fleet, const std::string& region) {
  return fmt::format("musher-{}-{}", fleet, region);
}

json fleet_tags(const FleetSettings& settings, FleetTime until) {
  json tags = json::array();
  const auto add = [&](const std::string& key, const std::string& value) {
    tags.push_back({{"Key", key}, {"Value", value}});
  };
  add("Name", fleet_resource(settings.name));
  add(kFleetTag, settings.name);
  add(kUntilTag, time_text(until));
  add(kPlanTag, plan_digest(settings));
  for (const auto& [key, value] : settings.tags) add(key, value);
  return tags;
}

std::optional<std::string> tag_of(const json& tagged, const std::string& key) {
  for (const json& tag : tagged.value("Tags", json::array())) {
    if (tag.at("Key") == key) return tag.at("Value").get<std::string>();
  }
  return std::nullopt;
}

std::string plan_digest(const FleetSettings& settings) {
  json all = {settings.type,        settings.spot,       settings.image,
              settings.subnet,      settings.admit,      settings.instance_profile,
              settings.role_policy, settings.software,   settings.root,
              settings.cache,       settings.public_key, settings.disk_gib,
              settings.tags};
  if (settings.efa != EfaUse::kNo) all.push_back(static_cast<int>(settings.efa));
  return hex64(hash64(all.dump()));
}

std::string time_text(FleetTime time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::optional<FleetTime> parse_time(const std::string& text) {
  std::tm parts{};
  std::istringstream in(text);
  in >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%SZ");
  if (in.fail()) return std::nullopt;
  return std::chrono::time_point_cast<std::chrono::seconds>(
      std::chrono::system_clock::from_time_t(::timegm(&parts)));
}

json ingress_rules(const FleetSettings& settings, const std::string& group) {
  json networks = json::array();
  json groups = json::array();
  for (const std::string& who : settings.admit) {
    if (who.starts_with("sg-")) {
      groups.push_back({{"GroupId", who}});
    } else {
      networks.push_back({{"CidrIp", who}});
    }
  }
  json ssh = {{"IpProtocol", "tcp"}, {"FromPort", 22}, {"ToPort", 22}};
  if (!networks.empty()) ssh["IpRanges"] = networks;
  if (!groups.empty()) ssh["UserIdGroupPairs"] = groups;
  const json fleet = {{"IpProtocol", "-1"}, {"UserIdGroupPairs", {{{"GroupId", group}}}}};
  return {fleet, ssh};
}

json egress_rule(const std::string& group) {
  return {{"IpProtocol", "-1"}, {"UserIdGroupPairs", {{{"GroupId", group}}}}};
}

json efa_interfaces(const FleetSurroundings& around, const std::string& group) {
  json interfaces = json::array();
  for (int card = 0; card < around.efa_interfaces; ++card) {
    interfaces.push_back({{"NetworkCardIndex", card},
                          {"DeviceIndex", card == 0 ? 0 : 1},
                          {"InterfaceType", card == 0 ? "efa" : "efa-only"},
                          {"SubnetId", around.subnet},
                          {"Groups", {group}},
                          {"DeleteOnTermination", true}});
  }
  return interfaces;
}

json role_trust() {
  return {{"Version", "2012-10-17"},
          {"Statement",
           {{{"Effect", "Allow"},
             {"Principal", {{"Service", "ec2.amazonaws.com"}}},
             {"Action", "sts:AssumeRole"}}}}};
}

json launch_template(const FleetSettings& settings, const FleetSurroundings& around,
                     const std::string& group, FleetTime until) {
  const std::string data = user_data(settings, around, until);
  check(data.size() <= kLongestUserData, "the instances' set-up is longer than EC2 takes");
  const json tags = fleet_tags(settings, until);
  json made = {
      {"ImageId", around.image},
      {"InstanceType", settings.type},
      {"InstanceInitiatedShutdownBehavior", "terminate"},
      {"IamInstanceProfile", {{"Name", profile_of(settings, around.region)}}},
      {"UserData", base64(data)},
      {"MetadataOptions",
       {{"HttpTokens", "required"}, {"HttpEndpoint", "enabled"}, {"HttpPutResponseHopLimit", 1}}},
      {"BlockDeviceMappings",
       {{{"DeviceName", around.root_device},
         {"Ebs",
          {{"VolumeSize", volume_gib(settings, around)},
           {"VolumeType", "gp3"},
           {"Encrypted", true},
           {"DeleteOnTermination", true}}}}}},
      {"TagSpecifications",
       {{{"ResourceType", "instance"}, {"Tags", tags}},
        {{"ResourceType", "volume"}, {"Tags", tags}}}},
  };
  if (around.efa_interfaces > 0) {
    made["NetworkInterfaces"] = efa_interfaces(around, group);  // not beside SecurityGroupIds
  } else {
    made["SecurityGroupIds"] = {group};
  }
  if (wants_placement_group(around)) {
    made["Placement"] = {{"GroupName", fleet_resource(settings.name)}};
  }
  if (settings.spot) {
    made["InstanceMarketOptions"] = {
        {"MarketType", "spot"},
        {"SpotOptions",
         {{"SpotInstanceType", "one-time"}, {"InstanceInterruptionBehavior", "terminate"}}}};
  }
  return made;
}

int volume_gib(const FleetSettings& settings, const FleetSurroundings& around) {
  const int software = settings.software.empty() ? 0 : kSoftwareGib;
  return std::max(settings.disk_gib, around.image_gib + software);
}

bool wants_placement_group(const FleetSurroundings& around) {
  return around.cluster;
}

std::string profile_of(const FleetSettings& settings, const std::string& region) {
  return settings.instance_profile.empty() ? fleet_role(settings.name, region)
                                           : settings.instance_profile;
}

}  // namespace musher

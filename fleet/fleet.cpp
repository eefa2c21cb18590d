#include "fleet/fleet.h"

#include <algorithm>
#include <exception>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/checksum.h"
#include "fleet/user_data.h"

namespace musher {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause{8'000};
/// For AWS to know everywhere what it was told to make.
constexpr auto kSettling = std::chrono::seconds(90);

FleetTime now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

/// Pauses that double.
class Backoff {
 public:
  void wait(Deadline deadline) {
    std::this_thread::sleep_for(std::min(pause_, deadline.remaining()));
    pause_ = std::min(2 * pause_, kLongestPause);
  }

 private:
  milliseconds pause_ = kFirstPause;
};

/// What was just made is not known everywhere at once.
bool unsettled(const AwsError& error) {
  const std::string what = error.what();
  return error.code() == ErrorCode::kNotFound ||
         (error.aws_code() == "InvalidParameterValue" &&
          what.find("nstance") != std::string::npos && what.find("rofile") != std::string::npos);
}

/// The same instances seen and replaced, the same token: where an answer was lost and nothing is
/// seen yet of what was started, the call again starts nothing more. In ten minutes EC2 shows it.
std::string client_token(const FleetSettings& settings, const std::vector<FleetInstance>& seen) {
  std::string text = fmt::format("{} {}", settings.name, now().time_since_epoch().count() / 600);
  for (const FleetInstance& one : seen) text += " " + one.id;
  for (const std::string& id : settings.replaced) text += " -" + id;
  return "musher-" + hex64(hash64(text));
}

void start_instances(const AwsAccess& access, const FleetSettings& settings,
                     const FleetSurroundings& around, std::size_t count,
                     const std::vector<FleetInstance>& seen, Deadline deadline) {
  json request = {{"LaunchTemplate",
                   {{"LaunchTemplateName", fleet_resource(settings.name)}, {"Version", "$Latest"}}},
                  {"MinCount", count},
                  {"MaxCount", count},
                  {"ClientToken", client_token(settings, seen)}};
  // Where the template has interfaces, it is theirs.
  if (around.efa_interfaces == 0) request["SubnetId"] = around.subnet;
  const Deadline settled = Deadline::after(kSettling);
  for (Backoff backoff;; backoff.wait(deadline)) {
    try {
      aws_call(access, "ec2", "run-instances", request, deadline);
      return;
    } catch (const AwsError& error) {
      if (!unsettled(error) || settled.expired() || deadline.expired()) throw;
    }
  }
}

void end_instances(const AwsAccess& access, const std::vector<FleetInstance>& instances,
                   Deadline deadline) {
  json ids = json::array();
  for (const FleetInstance& one : instances) ids.push_back(one.id);
  aws_call(access, "ec2", "terminate-instances", {{"InstanceIds", ids}}, deadline);
}

/// That of a fleet that is there; made where it is not.
FleetAnchor anchor_of(const AwsAccess& access, const FleetSettings& settings,
                      const FleetSurroundings& around, const FleetProgress& tell,
                      Deadline deadline) {
  const auto found = find_anchor(access, settings.name, deadline);
  if (!found) {
    const auto hours = std::chrono::seconds(static_cast<std::int64_t>(3600 * settings.max_hours));
    const FleetTime until = now() + hours;
    tell(fmt::format("fleet {} in {}, until {}", settings.name, around.region, time_text(until)));
    return make_anchor(access, settings, around, until, deadline);
  }
  const std::string again = fmt::format("`musher fleet down {}` first", settings.name);
  if (found->until <= now()) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("the time of fleet {} was up at {}; {}", settings.name,
                            time_text(found->until), again));
  }
  if (found->plan != plan_digest(settings)) {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("fleet {} is there with other settings than these; {}", settings.name, again));
  }
  return *found;
}

/// Those that are to be replaced; `seen` are then the others.
void end_replaced(const AwsAccess& access, const FleetSettings& settings,
                  std::vector<FleetInstance>& seen, const FleetProgress& tell, Deadline deadline) {
  std::vector<FleetInstance> ended;
  for (const FleetInstance& one : seen) {
    if (!settings.replaced.contains(one.id)) continue;
    tell(fmt::format("ends {}, which is to be replaced", one.id));
    ended.push_back(one);
  }
  if (ended.empty()) return;
  end_instances(access, ended, deadline);
  std::erase_if(seen, [&](const auto& one) { return settings.replaced.contains(one.id); });
}

/// Where the number is not right. Returns by how many instances it changed.
int adjust(const AwsAccess& access, const FleetSettings& settings, const FleetSurroundings& around,
           const std::vector<FleetInstance>& seen, const FleetProgress& tell, Deadline deadline) {
  const auto wanted = static_cast<std::size_t>(settings.instances);
  if (seen.size() == wanted) return 0;
  if (seen.size() > wanted) {
    const std::vector<FleetInstance> surplus(seen.begin() + static_cast<std::ptrdiff_t>(wanted),
                                             seen.end());
    tell(fmt::format("ends {} instances that are too many", surplus.size()));
    end_instances(access, surplus, deadline);
    return -static_cast<int>(surplus.size());
  }
  tell(fmt::format("starts {} {}{} in {}", wanted - seen.size(), settings.type,
                   settings.spot ? " (spot)" : "", around.subnet));
  start_instances(access, settings, around, wanted - seen.size(), seen, deadline);
  return static_cast<int>(wanted - seen.size());
}

}  // namespace

std::vector<FleetInstance> fleet_instances(const AwsAccess& access, const std::string& fleet,
                                           Deadline deadline) {
  const json tag = fleet.empty() ? aws_filter("tag-key", {kFleetTag})
                                 : aws_filter(fmt::format("tag:{}", kFleetTag), {fleet});
  const json states =
      aws_filter("instance-state-name", {"pending", "running", "stopping", "stopped"});
  const json found =
      aws_call(access, "ec2", "describe-instances", {{"Filters", {tag, states}}}, deadline);
  std::vector<FleetInstance> instances;
  for (const json& reservation : found.at("Reservations")) {
    for (const json& one : reservation.at("Instances")) {
      instances.push_back({one.at("InstanceId"), one.value("PrivateIpAddress", ""),
                           one.at("State").at("Name"), one.value("InstanceType", ""),
                           one.value("Placement", json::object()).value("AvailabilityZone", ""),
                           tag_of(one, kFleetTag).value_or(""), tag_of(one, kUntilTag).value_or(""),
                           one.value("InstanceLifecycle", "") == "spot"});
    }
  }
  std::sort(instances.begin(), instances.end(),
            [](const FleetInstance& a, const FleetInstance& b) { return a.id < b.id; });
  return instances;
}

Fleet fleet_up(const AwsAccess& access, const FleetSettings& settings, const FleetProgress& tell,
               Deadline deadline) {
  check_settings(settings);
  const FleetSurroundings around = look_around(access, settings, deadline);
  const FleetAnchor anchor = anchor_of(access, settings, around, tell, deadline);
  std::vector<FleetInstance> seen = fleet_instances(access, settings.name, deadline);
  end_replaced(access, settings, seen, tell, deadline);
  if (seen.size() < static_cast<std::size_t>(settings.instances)) {
    admit_callers(access, settings, anchor.group, deadline);
    if (around.efa_interfaces > 0) let_out_to_itself(access, anchor.group, deadline);
    make_role(access, settings, around.region, anchor.until, deadline);
    if (wants_placement_group(around)) {
      make_placement_group(access, settings, anchor.until, deadline);
    }
    make_launch_template(access, settings, around, anchor, deadline);
  }
  const int change = adjust(access, settings, around, seen, tell, deadline);
  if (change != 0) seen = fleet_instances(access, settings.name, deadline);
  return {std::move(seen), anchor.until, around.gpus, std::max(0, change)};
}

json fleet_dry_run(const AwsAccess& access, const FleetSettings& settings, Deadline deadline) {
  check_settings(settings);
  const FleetSurroundings around = look_around(access, settings, deadline);
  const auto hours = std::chrono::seconds(static_cast<std::int64_t>(3600 * settings.max_hours));
  const FleetTime until = now() + hours;
  const std::string group = "sg-0";  // the one that is to be made
  const std::string name = fleet_resource(settings.name);
  json plan = {
      {"Region", around.region},
      {"SubnetId", around.subnet},
      {"Until", time_text(until)},
      {"SecurityGroup",
       {{"GroupName", name},
        {"VpcId", around.vpc},
        {"IpPermissions", ingress_rules(settings, group)}}},
      {"LaunchTemplate",
       {{"LaunchTemplateName", name},
        {"LaunchTemplateData", launch_template(settings, around, group, until)}}},
      {"UserData", user_data(settings, around, until)},
      {"Instances", settings.instances},
  };
  if (wants_placement_group(around)) {
    plan["PlacementGroup"] = {{"GroupName", name}, {"Strategy", "cluster"}};
  }
  if (settings.instance_profile.empty()) {
    plan["Role"] = {{"RoleName", fleet_role(settings.name, around.region)},
                    {"AssumeRolePolicyDocument", role_trust()},
                    {"PolicyDocument", settings.role_policy}};
  }
  return plan;
}

void fleet_down(const AwsAccess& access, const std::string& fleet, const FleetProgress& tell,
                Deadline deadline) {
  check_fleet_name(fleet);
  const std::string region = aws_region(access, deadline);
  std::exception_ptr first;
  const auto attempt = [&](const char* what, const std::function<bool()>& remove) {
    try {
      if (remove()) tell(fmt::format("removed the {}", what));
    } catch (const std::exception&) {
      if (!first) first = std::current_exception();
    }
  };
  attempt("launch template",
          [&] { return remove_launch_template(access, fleet, deadline); });  // no more of them
  attempt("instances", [&] {
    bool any = false;
    for (Backoff backoff;; backoff.wait(deadline)) {
      const auto left = fleet_instances(access, fleet, deadline);
      if (left.empty()) return any;
      if (deadline.expired()) {
        throw Error(ErrorCode::kDeadlineExceeded,
                    fmt::format("{} instances of fleet {} are still there", left.size(), fleet));
      }
      tell(fmt::format("ends {} instances", left.size()));
      any = true;
      end_instances(access, left, deadline);
    }
  });
  // The security group, by which the fleet is known, goes last, and neither it nor the placement
  // group goes before the last instance is gone for good.
  const auto once_free = [&](const std::function<bool()>& remove) {
    for (Backoff backoff;; backoff.wait(deadline)) {
      try {
        return remove();
      } catch (const AwsError& error) {
        const bool in_use = error.aws_code() == "DependencyViolation" ||
                            error.aws_code() == "InvalidPlacementGroup.InUse";
        if (!in_use || deadline.expired()) throw;
      }
    }
  };
  attempt("placement group", [&] {
    return once_free([&] { return remove_placement_group(access, fleet, deadline); });
  });
  attempt("role", [&] { return remove_role(access, fleet, region, deadline); });
  if (!first) {
    attempt("security group",
            [&] { return once_free([&] { return remove_anchor(access, fleet, deadline); }); });
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace musher

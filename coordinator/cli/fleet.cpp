// musher fleet

#include "fleet/fleet.h"

#include <iostream>
#include <thread>

#include <fmt/format.h>

#include "coordinator/cli/daemon_options.h"
#include "coordinator/cli/fleet_follow.h"
#include "coordinator/cli/fleet_options.h"
#include "fleet/hosts.h"

namespace musher::cli {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::seconds;

constexpr seconds kCallTime{600};
constexpr double kPause = 10;

void tell(const std::string& text) {
  std::cerr << "musher: " << text << "\n";
}

struct UpOptions {
  FleetOptions fleet;
  std::string folder;
  double wait = 1800;  // seconds
  bool keep = false;
  bool dry_run = false;
};

std::string state_of(const FleetHost& host) {
  if (host.ready()) return "ready";
  if (!host.failure.empty()) return "failed: " + host.failure;
  return host.instance.state == "running" ? "is being set up" : host.instance.state;
}

/// Says what is new since the last look.
void tell_changes(const std::vector<FleetHost>& hosts, std::map<std::string, std::string>& told) {
  std::map<std::string, std::string> now;
  for (const FleetHost& host : hosts) {
    const std::string text = fmt::format("{} {}", host.instance.address, state_of(host));
    now[host.instance.id] = text;
    if (told[host.instance.id] != text) tell(fmt::format("{} {}", host.instance.id, text));
  }
  for (const auto& [id, text] : told) {
    if (!now.contains(id)) tell(fmt::format("{} is gone", id));
  }
  told = std::move(now);
}

/// One look at the fleet, which makes what is missing. False: there is nothing more to wait for.
bool tend(const AwsAccess& access, const FleetSettings& settings, const UpOptions& options,
          const FleetFolder& folder, std::map<std::string, std::string>& told) {
  const Deadline deadline = Deadline::after(kCallTime);
  const Fleet fleet = fleet_up(access, settings, tell, deadline);
  const std::vector<FleetHost> hosts = folder.look_at(access, fleet.instances, deadline);
  folder.write(hosts, options.fleet.slots(fleet.gpus));
  tell_changes(hosts, told);
  bool waiting = hosts.size() != static_cast<std::size_t>(settings.instances);
  for (const FleetHost& host : hosts) {
    if (!host.failure.empty() && !options.keep) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("the set-up of {} failed: {}", host.instance.id, host.failure));
    }
    waiting = waiting || !host.ready();
  }
  return waiting || options.keep;
}

/// False where there is none: whoever removed it meant it.
bool time_is_up(const AwsAccess& access, const std::string& name) {
  const auto anchor = find_anchor(access, name, Deadline::after(kCallTime));
  return anchor && anchor->until <= std::chrono::system_clock::now();
}

int keep_up(const AwsAccess& access, const FleetSettings& settings, const UpOptions& options,
            const FleetFolder& folder) {
  block_stop_signals();
  std::map<std::string, std::string> told;
  const Deadline patience =
      Deadline::after(std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options.wait)));
  while (true) {
    try {
      if (!tend(access, settings, options, folder, told)) break;
    } catch (const Error& error) {
      if (!options.keep) throw;
      if (time_is_up(access, settings.name)) {
        tell("its time is up");
        fleet_down(access, settings.name, tell, Deadline::after(kCallTime));
        return kOk;
      }
      tell(std::string(error.what()) + "; tries again");
    }
    if (!options.keep && patience.expired()) {
      throw Error(ErrorCode::kDeadlineExceeded,
                  fmt::format("fleet {} is not ready; the same command again goes on waiting",
                              settings.name));
    }
    const auto pause = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * kPause));
    if (wait_for_stop_signal(Deadline::after(pause)) != 0) return kOk;
  }
  std::cout << folder.hosts().string() << "\n";
  return kOk;
}

int up(const AwsAccess& access, const std::string& name, const UpOptions& options) {
  FleetSettings settings = options.fleet.settings(name);
  if (options.folder.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--folder is missing; see musher fleet --help");
  }
  check_settings(settings);
  if (options.dry_run) {
    settings.public_key = "ssh-ed25519 (made by the first `up`)";
    std::cout << fleet_dry_run(access, settings, Deadline::after(kCallTime)).dump(2) << "\n";
    return kOk;
  }
  const FleetFolder folder(options.folder);
  settings.public_key = folder.public_key(Deadline::after(kCallTime));
  try {
    return keep_up(access, settings, options, folder);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}. What was made stays, and costs: `musher fleet down "
                                          "{}` removes it, the same command again goes on",
                                          error.what(), name));
  }
}

int follow(const AwsAccess& access, const std::string& name, UpOptions options,
           const CoordinatorAddress& coordinator) {
  FleetSettings settings = options.fleet.settings(name);
  if (options.folder.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--folder is missing; see musher fleet --help");
  }
  check_settings(settings);
  const int most = settings.instances;
  const FleetFolder folder(options.folder);
  settings.public_key = folder.public_key(Deadline::after(kCallTime));
  options.keep = true;  // a host that fails is no reason to end
  std::map<std::string, std::string> told;
  FleetActions fleet;
  fleet.instances = [&] {
    return static_cast<int>(fleet_instances(access, name, Deadline::after(kCallTime)).size());
  };
  fleet.rent = [&](int instances) {
    settings.instances = instances;
    tend(access, settings, options, folder, told);
  };
  fleet.withdraw = [&] { folder.write({}, 0); };
  fleet.give_back = [&] { fleet_down(access, name, tell, Deadline::after(kCallTime)); };
  fleet.time_is_up = [&] { return time_is_up(access, name); };
  if (!fs::exists(folder.hosts())) fleet.withdraw();
  return follow_jobs(coordinator, settings.type, most, fleet);
}

int list(const AwsAccess& access, const std::string& name, bool as_json) {
  const auto found = fleet_instances(access, name, Deadline::after(kCallTime));
  if (as_json) {
    json all = json::array();
    for (const FleetInstance& one : found) {
      all.push_back({{"Fleet", one.fleet},
                     {"InstanceId", one.id},
                     {"PrivateIpAddress", one.address},
                     {"InstanceType", one.type},
                     {"AvailabilityZone", one.zone},
                     {"State", one.state},
                     {"Spot", one.spot},
                     {"Until", one.until}});
    }
    std::cout << all.dump(2) << "\n";
    return kOk;
  }
  const auto line = [](const auto&... columns) {
    std::cout << fmt::format("{:<16}  {:<19}  {:<15}  {:<14}  {:<10}  {:<8}  {}\n", columns...);
  };
  line("FLEET", "INSTANCE", "ADDRESS", "TYPE", "STATE", "BOUGHT", "UNTIL");
  for (const FleetInstance& one : found) {
    line(one.fleet, one.id, one.address, one.type, one.state, one.spot ? "spot" : "demand",
         one.until);
  }
  return kOk;
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string verb;
  std::string name;
  AwsAccess access;
  UpOptions up_options;
  CoordinatorAddress coordinator;
  bool as_json = false;
  Options options(command);
  options.positional("VERB", &verb);
  options.optional_positional("NAME", &name);
  up_options.fleet.add_to(options);
  options.add(
      "folder", &up_options.folder, "DIR",
      "of up: where the hosts, their keys and the key to them are written, for `musher "
      "serve --hosts DIR/hosts --ssh-known-hosts DIR/known_hosts --ssh-key DIR/key`; needed");
  options.add("wait", &up_options.wait, "SECONDS", "of up: for all hosts to be ready (1800)");
  options.add("keep", &up_options.keep,
              "of up: stay, start instances in place of lost ones, and end all at its time");
  options.add("dry-run", &up_options.dry_run, "of up: print what would be made, and make nothing");
  options.add("json", &as_json, "of list: as JSON");
  add_aws_options(options, &access);
  options.add_coordinator(&coordinator);
  if (!options.parse(words)) return kOk;
  if (verb == "list") return list(access, name, as_json);
  if (name.empty()) name = "default";
  if (verb == "up") return up(access, name, up_options);
  if (verb == "follow") return follow(access, name, up_options, coordinator);
  if (verb == "down") {
    fleet_down(access, name, tell, Deadline::after(kCallTime));
    return kOk;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "musher fleet has up, follow, list and down, not \"" + verb + "\"");
}

}  // namespace

const Command kFleet = {
    "fleet", "up|follow|list|down [NAME]",
    "Rent EC2 instances as hosts, list them, give them back. `up` makes a security group, a role, "
    "a launch template and instances that set Musher up by themselves, all known by their tags; "
    "again it makes what is missing. `follow` rents what jobs need that name the type, at most "
    "--instances, and gives it back when no job is left. `down` removes all of it, also after an "
    "`up` that failed "
    "midway. AWS is called through its own command line, with the credentials that it finds.",
    run};

}  // namespace musher::cli

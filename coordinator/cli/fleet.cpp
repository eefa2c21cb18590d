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
/// That EC2's checks find an instance impaired until it is replaced: a job may run on it.
constexpr seconds kImpairedFor{180};

void tell(const std::string& text) {
  std::cerr << "musher: " << text << "\n";
}

struct UpOptions {
  FleetOptions fleet;
  std::string folder;
  double wait = 1800;  // seconds
  double pause = 5;    // seconds
  bool keep = false;
  bool dry_run = false;
};

std::chrono::milliseconds pause_of(const UpOptions& options) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options.pause));
}

std::string state_of(const FleetHost& host) {
  if (host.ready()) return "ready";
  if (!host.failure.empty()) return "failed: " + host.failure;
  if (!host.trouble.empty()) return host.trouble;
  return host.instance.state == "running" ? "is being set up" : host.instance.state;
}

/// What is known from one look at a fleet to the next, by instance.
struct Looks {
  std::map<std::string, std::string> told;
  std::map<std::string, Deadline::Clock::time_point> impaired_since;
};

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

/// Instances that have been impaired for long enough are replaced at the next look.
void replace_impaired(const std::vector<FleetHost>& hosts, Looks& looks, FleetSettings& settings) {
  const auto now = Deadline::Clock::now();
  std::map<std::string, Deadline::Clock::time_point> since;
  for (const FleetHost& host : hosts) {
    const std::string& id = host.instance.id;
    if (host.trouble.empty()) continue;
    const auto known = looks.impaired_since.find(id);
    since[id] = known == looks.impaired_since.end() ? now : known->second;
    if (now - since[id] >= kImpairedFor) settings.replaced.insert(id);
  }
  looks.impaired_since = std::move(since);
}

/// One look at the fleet, which makes what is missing. False: there is nothing more to wait for.
bool tend(const AwsAccess& access, FleetSettings& settings, const UpOptions& options,
          const FleetFolder& folder, Looks& looks) {
  const Deadline deadline = Deadline::after(kCallTime);
  const Fleet fleet = fleet_up(access, settings, tell, deadline);
  const std::vector<FleetHost> hosts = folder.look_at(access, fleet.instances, deadline);
  folder.write(hosts, options.fleet.slots(fleet.gpus));
  tell_changes(hosts, looks.told);
  if (options.keep) replace_impaired(hosts, looks, settings);
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

int keep_up(const AwsAccess& access, FleetSettings settings, const UpOptions& options,
            const FleetFolder& folder) {
  block_stop_signals();
  Looks looks;
  const Deadline patience =
      Deadline::after(std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options.wait)));
  while (true) {
    try {
      if (!tend(access, settings, options, folder, looks)) break;
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
    if (wait_for_stop_signal(Deadline::after(pause_of(options))) != 0) return kOk;
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
  Looks looks;
  FleetActions fleet;
  fleet.instances = [&] {
    return static_cast<int>(fleet_instances(access, name, Deadline::after(kCallTime)).size());
  };
  fleet.rent = [&](int instances) {
    settings.instances = instances;
    tend(access, settings, options, folder, looks);
  };
  fleet.withdraw = [&] { folder.write({}, 0); };
  fleet.give_back = [&] { fleet_down(access, name, tell, Deadline::after(kCallTime)); };
  fleet.time_is_up = [&] { return time_is_up(access, name); };
  if (!fs::exists(folder.hosts())) fleet.withdraw();
  return follow_jobs(coordinator, settings.type, most, pause_of(options), fleet);
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
              "of up: stay, start instances in place of lost ones and of those that EC2's status "
              "checks find impaired for 3 minutes, and end all at its time");
  options.add("look-every", &up_options.pause, "SECONDS",
              "of up and follow: from one look at AWS, and at the jobs, to the next (5)");
  options.add("dry-run", &up_options.dry_run, "of up: print what would be made, and make nothing");
  options.add("json", &as_json, "of list: as JSON");
  add_aws_options(options, &access);
  options.add_coordinator(&coordinator);
  if (!options.parse(words)) return kOk;
  if (verb == "list") return list(access, name, as_json);
  if (name.empty()) name = "default";
  if (up_options.pause < 0.1) {
    throw Error(ErrorCode::kInvalidArgument, "--look-every must be at least 0.1 (seconds)");
  }
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

#include "fleet/hosts.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "fleet/user_data.h"
#include "launch/command.h"
#include "launch/mpirun.h"

namespace musher {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string read_file(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Whole or not at all. What has not changed is left: a coordinator would read it again.
void replace_file(const fs::path& path, const std::string& text) {
  if (fs::exists(path) && read_file(path) == text) return;
  const fs::path next = path.string() + ".new";
  {
    std::ofstream out(next, std::ios::trunc);
    out << text;
    out.close();
    if (!out) {
      throw Error(ErrorCode::kResourceExhausted, path.string() + " can't be written");
    }
  }
  fs::rename(next, path);
}

/// Of hosts that were ready: instance and address → key.
std::map<std::pair<std::string, std::string>, std::string> known_keys(const fs::path& path) {
  std::map<std::pair<std::string, std::string>, std::string> keys;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string address;
    std::string kind;
    std::string key;
    std::string id;
    if (words >> address >> kind >> key >> id)
      keys[{id, address}] = fmt::format("{} {}", kind, key);
  }
  return keys;
}

HostConsole console_of(const AwsAccess& access, const std::string& id, Deadline deadline) {
  try {
    const json answer = aws_call(access, "ec2", "get-console-output",
                                 {{"InstanceId", id}, {"Latest", true}}, deadline);
    return parse_console(answer.is_null() ? "" : answer.value("Output", ""));
  } catch (const AwsError& error) {
    if (error.code() == ErrorCode::kNotFound) return {};  // gone meanwhile
    throw;
  }
}

constexpr std::ptrdiff_t kStatusesAtOnce = 100;  // EC2's limit

/// The first check that an instance does not pass; empty: none is known.
std::string failed_check(const json& status) {
  constexpr std::array<std::pair<const char*, const char*>, 3> kChecks = {
      {{"SystemStatus", "system"},
       {"InstanceStatus", "instance"},
       {"AttachedEbsStatus", "attached volume"}}};
  for (const auto& [member, name] : kChecks) {
    const std::string found = status.value(member, json::object()).value("Status", "");
    if (found == "impaired") return fmt::format("EC2's {} status check says impaired", name);
  }
  return "";
}

}  // namespace

std::map<std::string, std::string> impaired_instances(const AwsAccess& access,
                                                      const std::vector<FleetInstance>& instances,
                                                      Deadline deadline) {
  std::vector<std::string> running;
  for (const FleetInstance& one : instances) {
    if (one.state == "running") running.push_back(one.id);
  }
  std::map<std::string, std::string> impaired;
  for (auto first = running.begin(); first != running.end();) {
    const auto end = first + std::min(kStatusesAtOnce, running.end() - first);
    const json request = {{"InstanceIds", std::vector<std::string>(first, end)}};
    first = end;
    try {
      const json answer = aws_call(access, "ec2", "describe-instance-status", request, deadline);
      for (const json& one : answer.at("InstanceStatuses")) {
        const std::string failed = failed_check(one);
        if (!failed.empty()) impaired[one.at("InstanceId")] = failed;
      }
    } catch (const AwsError& error) {
      if (error.code() != ErrorCode::kNotFound) throw;  // one is gone meanwhile: the next look
    }
  }
  return impaired;
}

FleetFolder::FleetFolder(fs::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (!error) fs::permissions(folder_, fs::perms::owner_all, error);
  if (error) {
    throw Error(ErrorCode::kPermissionDenied,
                fmt::format("the folder {} can't be made: {}", folder_.string(), error.message()));
  }
  folder_ = fs::absolute(folder_);
}

std::string FleetFolder::public_key(Deadline deadline) const {
  if (!fs::exists(key())) {
    const CommandResult made = run_command({"/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "",
                                            "-C", "musher", "-f", key().string()},
                                           "", deadline);
    if (made.exit_code != 0) {
      throw Error(ErrorCode::kInternal, "ssh-keygen: " + made.err);
    }
  }
  std::string text = read_file(key().string() + ".pub");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.starts_with("ssh-")) {
    throw Error(ErrorCode::kNotFound, key().string() + ".pub is no public key");
  }
  return text;
}

std::vector<FleetHost> FleetFolder::look_at(const AwsAccess& access,
                                            const std::vector<FleetInstance>& instances,
                                            Deadline deadline) const {
  const auto known = known_keys(known_hosts());
  const auto impaired = impaired_instances(access, instances, deadline);
  std::vector<FleetHost> hosts;
  for (const FleetInstance& instance : instances) {
    FleetHost host{instance, "", ""};
    if (instance.state == "running") {
      const auto found = known.find({instance.id, instance.address});
      if (found != known.end()) {
        host.key = found->second;
      } else {
        const HostConsole console = console_of(access, instance.id, deadline);
        if (console.ready) host.key = console.key;
        host.failure = console.failure;
      }
      const auto failed = impaired.find(instance.id);
      if (failed != impaired.end()) host.trouble = failed->second;
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

std::string known_hosts_text(const std::vector<FleetHost>& hosts) {
  std::string text;
  for (const FleetHost& host : hosts) {
    if (host.key.empty()) continue;
    text += fmt::format("{} {} {}\n", host.instance.address, host.key, host.instance.id);
  }
  return text;
}

void FleetFolder::write(const std::vector<FleetHost>& hosts, int slots) const {
  std::vector<std::pair<std::string, int>> ready;
  for (const FleetHost& host : hosts) {
    if (host.ready()) ready.emplace_back(host.instance.address, slots);
  }
  // A hostfile names a host, if one without room.
  if (ready.empty()) ready.emplace_back("localhost", 0);
  replace_file(known_hosts(), known_hosts_text(hosts));
  replace_file(this->hosts(), hostfile_text(ready));
}

}  // namespace musher

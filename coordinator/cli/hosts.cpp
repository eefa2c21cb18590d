// musher hosts

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <random>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "coordinator/cli/access_options.h"
#include "coordinator/cli/command.h"
#include "coordinator/cli/daemon_options.h"
#include "coordinator/host_agent.h"
#include "coordinator/host_check.h"
#include "coordinator/host_instance.h"
#include "coordinator/host_probe.h"
#include "coordinator/server.h"

namespace musher::cli {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kProbeTime = std::chrono::seconds(10);
/// As long as ssh tries: from when a host is reached to when the last one is.
constexpr int kMeetMilliseconds = 5'000;
constexpr double kGiB = 1 << 30;

std::int64_t now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

std::string ssh_connection() {
  const char* connection = std::getenv("SSH_CONNECTION");
  return connection == nullptr ? "" : connection;
}

/// What the coordinator starts here over ssh.
int agent() {
  const std::string text((std::istreambuf_iterator<char>(std::cin)),
                         std::istreambuf_iterator<char>());
  const auto request = json::parse(text, nullptr, false);
  if (request.is_discarded()) {
    throw Error(ErrorCode::kInvalidArgument, "the request on stdin is no JSON");
  }
  std::cout << serve_host_request(request, ssh_connection()).dump() << "\n";
  return kOk;
}

struct CheckOptions {
  std::string hostfile;
  std::vector<std::string> reach;
  double memory_gib = 4;
  double disk_gib = 10;
  bool json = false;
};

/// What each host is asked: all in one visit, for to reach a host takes longer than all that is
/// asked there. So each tries peers that may not answer at all.
std::vector<json> requests_for(const json& probe, const std::vector<std::string>& hosts) {
  std::random_device random;
  const int port = std::uniform_int_distribution(20'000, 32'000)(random);
  std::vector<json> requests(hosts.size(), probe);
  for (std::size_t i = 0; hosts.size() > 1 && i < hosts.size(); ++i) {
    std::vector<std::string> peers = hosts;
    std::erase(peers, hosts[i]);
    requests[i]["meet"] = {{"peers", peers}, {"port", port}, {"milliseconds", kMeetMilliseconds}};
  }
  return requests;
}

/// Adds the peers that a host did not reach to its answer, but for those that nobody reaches.
void add_unmet(std::vector<HostAnswer>& answers) {
  std::set<std::string> there;
  for (const HostAnswer& answer : answers) {
    if (answer.ok()) there.insert(answer.host);
  }
  for (HostAnswer& answer : answers) {
    if (!answer.ok()) continue;
    const json unmet = answer.reply.value("unmet", json::object());
    for (const auto& [peer, why] : unmet.items()) {
      if (there.contains(peer)) {
        answer.reply["unreached"].push_back(peer + ": " + why.get<std::string>());
      }
    }
    answer.reply.erase("unmet");
  }
}

json reach_of(const std::vector<std::string>& addresses) {
  json list = json::array();
  for (const std::string& text : addresses) {
    const ListenAddress address = ListenAddress::parse(text);
    list.push_back({address.host, address.port});
  }
  return list;
}

void print_table(const std::vector<HostAnswer>& answers, const Expectations& expected) {
  std::size_t width = 4;
  for (const HostAnswer& answer : answers) width = std::max(width, answer.host.size());
  const auto line = [&](const auto&... columns) {
    const std::string text = fmt::format(
        "{:<{}}  {:<4}  {:<7}  {:>4}  {:<10}  {:>8}  {:>8}  {:>7}  {:<12}  {}", columns...);
    std::cout << text.substr(0, text.find_last_not_of(' ') + 1) << "\n";
  };
  line("HOST", width, "FIT", "VERSION", "GPUS", "DRIVER", "MEMORY", "DISK", "CLOCK", "EFA",
       "WHAT IS WRONG");
  for (const HostAnswer& answer : answers) {
    const std::string wrong = fmt::format("{}", fmt::join(problems_of(answer, expected), "; "));
    const char* fit = wrong.empty() ? "yes" : "NO";
    if (!answer.ok()) {
      line(answer.host, width, fit, "-", "-", "-", "-", "-", "-", "-", wrong);
      continue;
    }
    const json& reply = answer.reply;
    const auto driver = reply.at("driver").get<std::string>();
    line(answer.host, width, fit, reply.at("version").get<std::string>(),
         reply.at("gpus").get<std::size_t>(), driver.empty() ? "-" : driver,
         fmt::format("{:.1f}G", reply.at("memory_bytes").get<double>() / kGiB),
         fmt::format("{:.1f}G", reply.at("disk_bytes").get<double>() / kGiB),
         fmt::format("{:+.1f}s", clock_error(answer, expected)), efa_text(answer), wrong);
  }
}

json to_json(const std::vector<HostAnswer>& answers, const Expectations& expected) {
  json list = json::array();
  for (const HostAnswer& answer : answers) {
    json one = answer.ok() ? answer.reply : json::object();
    one["name"] = answer.host;
    one["problems"] = problems_of(answer, expected);
    list.push_back(std::move(one));
  }
  return list;
}

int check(const CheckOptions& options, AccessOptions& access_options,
          const DaemonOptions& programs) {
  if (options.hostfile.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--hosts is missing; see musher hosts --help");
  }
  const fs::path folder = fs::temp_directory_path();
  const CoordinatorOptions settings = programs.coordinator(folder, folder);
  const HostAccess access = access_options.checked(settings.mpirun);
  const auto hosts = names_of(read_hostfile(options.hostfile));
  const json request = {{"do", "probe"},
                        {"programs", {access.musher, settings.trainer}},
                        {"prefix", access.prefix},
                        {"disk", folder.string()},
                        {"reach", reach_of(options.reach)}};
  Expectations expected;
  expected.build = build_of({access.musher, settings.trainer});
  expected.libraries = fs::weakly_canonical(access.prefix).filename();
  expected.memory_bytes = static_cast<std::uint64_t>(options.memory_gib * kGiB);
  expected.disk_bytes = static_cast<std::uint64_t>(options.disk_gib * kGiB);
  expected.sent_ms = now_ms();
  auto answers =
      ask_hosts(access, hosts, requests_for(request, hosts), Deadline::after(kProbeTime));
  expected.received_ms = now_ms();
  add_unmet(answers);
  if (options.json) {
    std::cout << to_json(answers, expected).dump(2) << "\n";
  } else {
    print_table(answers, expected);
  }
  const bool all = std::all_of(answers.begin(), answers.end(), [&](const HostAnswer& answer) {
    return problems_of(answer, expected).empty();
  });
  return all ? kOk : kFailed;
}

int run(const Command& command, const std::vector<std::string>& words) {
  std::string what;
  CheckOptions check_options;
  AccessOptions access;
  DaemonOptions programs;
  Options options(command);
  options.positional("check", &what);
  options.add("hosts", &check_options.hostfile, "HOSTFILE",
              "the hosts, as `musher serve` takes them");
  options.add("reach", &check_options.reach, "HOST:PORT",
              "what each host must reach beside the others, such as the coordinator and the object "
              "store; may be repeated");
  options.add("min-memory", &check_options.memory_gib, "GIB",
              "free memory that a host must have (4)");
  options.add("min-disk", &check_options.disk_gib, "GIB",
              "free disk, where temporary files go, that a host must have (10)");
  options.add("json", &check_options.json, "all of it as JSON");
  access.add_to(options);
  options.add("mpirun", &programs.mpirun, "PATH",
              "Open MPI 5's mpirun (that of the pinned environment)");
  options.add("trainer", &programs.trainer, "PATH",
              "the worker program (musher-trainer beside musher)");
  if (!options.parse(words)) return kOk;
  if (what == "agent") return agent();
  if (what == "instance") return accompany_instance(ssh_connection());
  if (what == "check") return check(check_options, access, programs);
  throw Error(ErrorCode::kInvalidArgument,
              "\"" + what + "\" is not known; see musher hosts --help");
}

}  // namespace

const Command kHosts = {
    "hosts", "check --hosts HOSTFILE",
    "Check the hosts for jobs, all at once: reachable, the same Musher and libraries, GPUs and "
    "their "
    "driver, memory, disk, clock, EFA, and that they reach each other. The exit code is 1 where "
    "one is "
    "not fit. (`musher hosts agent` and `musher hosts instance` are what this and the coordinator "
    "start on them, over ssh.)",
    run};

}  // namespace musher::cli

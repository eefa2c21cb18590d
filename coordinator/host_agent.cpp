#include "coordinator/host_agent.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <sstream>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/deadline.h"
#include "common/error.h"
#include "coordinator/host_probe.h"
#include "coordinator/process.h"
#include "launch/mpirun.h"

namespace musher {

namespace {

using nlohmann::json;

constexpr auto kEndTime = std::chrono::seconds(5);
constexpr auto kReachTime = std::chrono::seconds(1);

std::int64_t now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

void stage(const json& request) {
  write_private_files(request.at("folder").get<std::string>(), request.at("files"));
}

void end(const json& request) {
  const std::filesystem::path folder = request.at("folder").get<std::string>();
  const Deadline deadline = Deadline::after(kEndTime);
  while (signal_by_argument(folder / "token", SIGKILL) > 0 && !deadline.expired()) {
    ::poll(nullptr, 0, 5);  // the kernel tells nobody but the parent of a process's end
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

/// A pid may be another process's by now, but the token's path is an argument of this attempt's
/// alone.
bool kill_one(const json& request) {
  const std::filesystem::path folder = request.at("folder").get<std::string>();
  const auto identity = identify(request.at("pid").get<pid_t>(), folder / "token");
  const auto process = identity ? Process::find(*identity) : std::nullopt;
  if (process) process->signal(SIGKILL);
  return process.has_value();
}

std::vector<std::string> unreached(const json& request) {
  std::vector<std::string> found;
  const Deadline deadline = Deadline::after(kReachTime);
  for (const json& one : request.value("reach", json::array())) {
    const auto host = one.at(0).get<std::string>();
    const int port = one.at(1).get<int>();
    const std::string why = why_unreachable(host, port, deadline);
    if (!why.empty()) found.push_back(fmt::format("{}:{}: {}", host, port, why));
  }
  return found;
}

/// Adds to the reply.
void meet(const json& meeting, json& reply) try {
  reply["unmet"] =
      meet_peers(meeting.at("peers").get<std::vector<std::string>>(), meeting.at("port").get<int>(),
                 Deadline::after(std::chrono::milliseconds(meeting.at("milliseconds").get<int>())));
} catch (const Error& error) {
  reply["unreached"].push_back(std::string("the others: ") + error.what());
}

json describe(const std::string& ssh_connection) {
  json reply = {{"host", this_machine()},
                {"cores", std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN))},
                {"interfaces", json::array()}};
  for (const NetworkInterface& one : own_interfaces()) {
    reply["interfaces"].push_back(
        {{"name", one.name}, {"address", one.address}, {"prefix", one.prefix}});
  }
  std::istringstream words(ssh_connection);
  std::string from;
  std::string port;
  std::string at;
  if (words >> from >> port >> at) {
    reply["reached_from"] = from;
    reply["reached_at"] = at;
  }
  return reply;
}

}  // namespace

std::vector<NetworkInterface> own_interfaces() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);
  std::vector<NetworkInterface> found;
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    const bool usable = one->ifa_addr != nullptr && one->ifa_netmask != nullptr &&
                        one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) != 0 &&
                        (one->ifa_flags & IFF_LOOPBACK) == 0;
    if (!usable) continue;
    char text[INET_ADDRSTRLEN] = {};
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    const auto* mask = reinterpret_cast<const sockaddr_in*>(one->ifa_netmask);
    ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    found.push_back({one->ifa_name, text, std::popcount(mask->sin_addr.s_addr)});
  }
  return found;
}

void make_private_folder(const std::filesystem::path& path) {
  struct stat status {};
  if (::mkdir(path.c_str(), 0700) == 0) return;
  if (errno != EEXIST || ::lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) ||
      status.st_uid != ::geteuid()) {
    throw Error(ErrorCode::kUnavailable,
                path.string() + " can't be made a folder of this user: " + strerror(errno));
  }
}

void write_private_file(const std::filesystem::path& path, const std::string& text) {
  // A name of this process's own: hosts that share a file system may write the same at once.
  const std::string unfinished = fmt::format("{}.{}-{}", path.string(), this_machine(), ::getpid());
  const FileDescriptor file(
      ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(unfinished.c_str(), path.c_str()) != 0) {
    throw Error(ErrorCode::kUnavailable, path.string() + " can't be written: " + strerror(errno));
  }
}

void write_private_files(const std::filesystem::path& folder, const json& files) {
  make_private_folder(folder);
  for (const auto& [name, text] : files.items()) {
    if (name.find('/') != std::string::npos) {
      throw Error(ErrorCode::kInvalidArgument, "files: \"" + name + "\" is no file's name");
    }
    write_private_file(folder / name, text.get<std::string>());
  }
}

json serve_host_request(const json& request, const std::string& ssh_connection) try {
  const std::string what = request.at("do").get<std::string>();
  json reply = describe(ssh_connection);
  if (what == "stage") {
    if (request.contains("programs")) reply.update(probe_host(request));
    stage(request);
  } else if (what == "end") {
    end(request);
  } else if (what == "kill") {
    reply["killed"] = kill_one(request);
  } else if (what == "probe") {
    reply.update(probe_host(request));
    reply["unreached"] = unreached(request);
    if (request.contains("meet")) meet(request.at("meet"), reply);
    reply["answered_ms"] = now_ms();
  } else {
    throw Error(ErrorCode::kInvalidArgument, "do: \"" + what + "\" is not known here");
  }
  return reply;
} catch (const json::exception& error) {
  throw Error(ErrorCode::kInvalidArgument,
              std::string("the request can't be read: ") + error.what());
}

}  // namespace musher

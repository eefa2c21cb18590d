#include "coordinator/host_instance.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/deadline.h"
#include "common/error.h"
#include "coordinator/host_agent.h"
#include "coordinator/process.h"

namespace musher {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kFirstOrderTime = std::chrono::seconds(60);

/// What comes on stdin.
class Orders {
 public:
  /// Waits for bytes. False at the end.
  bool read() {
    char buffer[64 << 10];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return false;
    text_.append(buffer, static_cast<std::size_t>(got));
    return true;
  }

  /// Absent: no further whole line is there.
  std::optional<json> next() {
    const std::size_t end = text_.find('\n');
    if (end == text_.npos) return std::nullopt;
    const std::string line = text_.substr(0, end);
    text_.erase(0, end + 1);
    return json::parse(line, nullptr, /*allow_exceptions=*/false);
  }

  std::optional<json> first(Deadline deadline) {
    while (!deadline.expired()) {
      if (auto order = next()) return order;
      pollfd wait{STDIN_FILENO, POLLIN, 0};
      if (::poll(&wait, 1, static_cast<int>(deadline.remaining().count())) > 0 && !read()) break;
    }
    return std::nullopt;
  }

 private:
  std::string text_;
};

void take_files(const json& order, const fs::path& folder) {
  if (order.contains("files")) write_private_files(folder, order.at("files"));
  if (!order.contains("keys")) return;
  json keys;
  for (const auto& [name, bytes] : order.at("keys").items()) {
    const auto values = bytes.get<std::vector<std::uint8_t>>();
    keys[name] = std::string(values.begin(), values.end());
  }
  write_private_files(folder / "keys", keys);
}

/// By which this host was reached.
std::string own_address(const std::string& ssh_connection) {
  std::istringstream words(ssh_connection);
  std::string from, port, at;
  words >> from >> port >> at;
  in_addr parsed{};
  if (::inet_pton(AF_INET, at.c_str(), &parsed) != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("this host was reached at \"{}\", which must be an IPv4 address for an "
                            "instance to listen on",
                            at));
  }
  return at;
}

std::vector<std::string> argv_of(const json& order, const fs::path& folder,
                                 const std::string& ssh_connection) {
  auto argv = order.at("argv").get<std::vector<std::string>>();
  const auto add = [&](std::initializer_list<std::string> words) {
    argv.insert(argv.end(), words);
  };
  add({"--address", own_address(ssh_connection), "--tls", folder, "--token", folder / "token"});
  if (order.contains("keys")) add({"--keys", folder / "keys"});
  const long share = order.value("share", 0L);
  if (share > 0) {
    const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
    add({fmt::format("--threads={}", std::max(1L, cores / share))});
  }
  return argv;
}

Process spawn_instance(const json& order, const fs::path& folder,
                       const std::string& ssh_connection) {
  SpawnOptions options;
  options.argv = argv_of(order, folder, ssh_connection);
  options.environment = order.value("environment", std::map<std::string, std::string>());
  options.die_with_parent = true;
  return Process::spawn(options);
}

/// One that has ended.
std::string how_it_ended(const Process& process) {
  siginfo_t info{};
  ::waitid(static_cast<idtype_t>(3 /* P_PIDFD */), static_cast<id_t>(process.descriptor()), &info,
           WEXITED);
  return fmt::format("{} {}", info.si_code == CLD_EXITED ? "exit code" : "signal", info.si_status);
}

void complain(const std::exception& error) {
  std::cout << "musher: " << error.what() << std::endl;
}

/// One that is not right changes nothing.
void obey(const json& order, const Process& process, const fs::path& folder) try {
  take_files(order, folder);
  if (order.value("do", "") == "stop") process.signal(SIGTERM);
} catch (const std::exception& error) {
  complain(error);
}

/// Until it ends, be it by itself, as it was told, or with the connection.
std::string accompany(const Process& process, Orders& orders, const fs::path& folder) {
  bool connected = true;
  while (true) {
    pollfd events[] = {{process.descriptor(), POLLIN, 0},
                       {connected ? STDIN_FILENO : -1, POLLIN, 0}};
    ::poll(events, 2, -1);
    if (events[0].revents != 0) return how_it_ended(process);
    if (events[1].revents == 0) continue;
    connected = orders.read();
    if (!connected) process.signal(SIGKILL);
    while (const auto order = orders.next()) obey(*order, process, folder);
  }
}

}  // namespace

int accompany_instance(const std::string& ssh_connection) {
  ::signal(SIGPIPE, SIG_IGN);  // of a connection that is gone, while there is still work to do
  Orders orders;
  const auto first = orders.first(Deadline::after(kFirstOrderTime));
  if (!first) {
    throw Error(ErrorCode::kDeadlineExceeded, "no order came on stdin; the coordinator gives it");
  }
  const fs::path folder = first->at("folder").get<std::string>();
  std::string end = "it could not be started";
  try {
    take_files(*first, folder);
    end = accompany(spawn_instance(*first, folder, ssh_connection), orders, folder);
  } catch (const std::exception& error) {
    complain(error);
  }
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  std::cout << kInstanceOver << end << std::endl;
  return 0;
}

}  // namespace musher

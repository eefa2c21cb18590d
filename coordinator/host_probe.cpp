#include "coordinator/host_probe.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "common/thread.h"
#include "coordinator/build_id.h"
#include "coordinator/process.h"

namespace musher {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kBacklog = 256;
// Between two tries of a peer that does not listen yet: each host of 64 tries 63.
constexpr int kShortestPauseMilliseconds = 20;
constexpr int kLongestPauseMilliseconds = 320;

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::uint64_t free_memory() {
  std::ifstream in("/proc/meminfo");
  std::string name;
  std::uint64_t kib = 0;
  std::string rest;
  while (in >> name >> kib && std::getline(in, rest)) {
    if (name == "MemAvailable:") return kib << 10;
  }
  return 0;
}

std::uint64_t free_disk(const fs::path& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) return 0;
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

std::size_t entries(const fs::path& folder, const std::string& prefix) {
  std::error_code none;
  std::size_t count = 0;
  for (fs::directory_iterator one(folder, none), end; !none && one != end; one.increment(none)) {
    count += one->path().filename().string().starts_with(prefix) ? 1 : 0;
  }
  return count;
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Release Build …` → 580.95.05
std::string driver_version() {
  std::istringstream words(first_line("/proc/driver/nvidia/version"));
  for (std::string word; words >> word;) {
    const bool number = word.find_first_not_of("0123456789.") == std::string::npos;
    if (number && word.find('.') != std::string::npos) return word;
  }
  return "";
}

/// Where AWS's packages put NCCL's plugin for EFA.
bool has_efa_plugin() {
  std::error_code none;
  return fs::exists("/opt/amazon/ofi-nccl/lib/x86_64-linux-gnu/libnccl-net.so", none) ||
         fs::exists("/opt/amazon/ofi-nccl/lib/libnccl-net.so", none) ||
         fs::exists("/opt/aws-ofi-nccl/lib/libnccl-net.so", none);
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

FileDescriptor listen_on(int port) {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("port {} can't be listened on: {}", port, strerror(errno)));
  }
  return socket;
}

std::string hash_of_content(const fs::path& file) {
  RunningHash hash;
  std::vector<char> buffer(1 << 20);
  std::ifstream in(file, std::ios::binary);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
    hash.add(std::as_bytes(std::span(buffer.data(), static_cast<std::size_t>(in.gcount()))));
  }
  return hex64(hash.value());
}

/// Takes connections until so many have come, or the deadline.
void welcome(int listener, std::size_t count, Deadline deadline) {
  while (count > 0 && !deadline.expired()) {
    pollfd event{listener, POLLIN, 0};
    ::poll(&event, 1, static_cast<int>(deadline.remaining().count()));
    const FileDescriptor peer(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (peer) --count;
  }
}

}  // namespace

std::string build_of(const std::vector<std::string>& programs) {
  std::string ids;
  for (const std::string& program : programs) {
    const std::string id = build_id(program);
    ids += (id.empty() ? hash_of_content(program) : id) + ';';
  }
  return hex64(hash64(ids));
}

std::string why_unreachable(const std::string& host, int port, Deadline deadline, bool patient) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  const Addresses addresses(found, &::freeaddrinfo);
  if (failed != 0) return ::gai_strerror(failed);
  for (int pause = kShortestPauseMilliseconds;;
       pause = std::min(2 * pause, kLongestPauseMilliseconds)) {
    const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    int error = 0;
    if (::connect(socket.get(), addresses->ai_addr, addresses->ai_addrlen) != 0) {
      error = errno;
      if (error == EINPROGRESS) {
        pollfd event{socket.get(), POLLOUT, 0};
        socklen_t size = sizeof error;
        const int ready = ::poll(&event, 1, static_cast<int>(deadline.remaining().count()));
        if (ready <= 0) return "no answer in time";
        ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      }
    }
    if (error == 0) return "";
    if (!patient || error != ECONNREFUSED || deadline.expired()) return strerror(error);
    ::poll(nullptr, 0, pause);
  }
}

std::map<std::string, std::string> meet_peers(const std::vector<std::string>& peers, int port,
                                              Deadline deadline) {
  const FileDescriptor listener = listen_on(port);
  std::vector<std::string> reasons(peers.size());
  {
    std::vector<Thread> threads;
    for (std::size_t i = 0; i < peers.size(); ++i) {
      threads.emplace_back(
          "peer", [&, i] { reasons[i] = why_unreachable(peers[i], port, deadline, true); });
    }
    welcome(listener.get(), peers.size(), deadline);
  }
  std::map<std::string, std::string> unreached;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    if (!reasons[i].empty()) unreached[peers[i]] = reasons[i];
  }
  return unreached;
}

json probe_host(const json& request) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const fs::path prefix = request.at("prefix").get<std::string>();
  std::error_code none;
  return {
      {"version", MUSHER_VERSION},
      {"build", build_of(request.at("programs").get<std::vector<std::string>>())},
      {"libraries", fs::canonical(prefix, none).filename().string()},
      {"time_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now).count()},
      {"memory_bytes", free_memory()},
      {"disk_bytes", free_disk(request.at("disk").get<std::string>())},
      {"gpus", entries("/proc/driver/nvidia/gpus", "")},
      {"driver", driver_version()},
      {"efa", entries("/sys/class/infiniband", "efa") + entries("/sys/class/infiniband", "rdmap")},
      {"efa_plugin", has_efa_plugin()}};
}

}  // namespace musher

#include "coordinator/endpoints/remote_instance.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/deadline.h"
#include "common/error.h"
#include "launch/shell.h"
#include "rpc/tls.h"

namespace musher {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kOrderTime = std::chrono::seconds(10);
constexpr int kMostPipeBytes = 1 << 20;  // what Linux gives anybody

void make_fifo(const fs::path& path) {
  ::unlink(path.c_str());
  if (::mkfifo(path.c_str(), 0600) != 0) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("{} can't be made: {}", path.string(), std::strerror(errno)));
  }
}

}  // namespace

json host_files(const std::string& token, const fs::path& tls, const HostAccess& access,
                const std::string& keys) {
  check_tls_folder(tls);
  json files = {{"token", token + "\n"}};
  for (const char* name : {"certificate.pem", "key.pem"}) files[name] = read_text_file(tls / name);
  if (!access.store_credentials.empty()) files["credentials"] = access.store_credentials;
  json order = {{"files", std::move(files)}};
  if (keys.empty()) return order;
  for (const char* name : {"access-keys.json", "secret.key"}) {
    const std::string bytes = read_text_file(fs::path(keys) / name);
    order["keys"][name] = std::vector<std::uint8_t>(bytes.begin(), bytes.end());
  }
  return order;
}

Process start_on_host(const HostAccess& access, const std::string& host, const json& order,
                      const fs::path& control, const fs::path& log) {
  make_fifo(control);
  SpawnOptions spawn;
  spawn.argv = ssh_words(access.ssh);
  spawn.argv.insert(spawn.argv.end(),
                    {"--", host, quoted_for_shell(access.musher), "hosts", "instance"});
  spawn.input = control;
  spawn.output = log;
  Process process = Process::spawn(spawn);
  if (!tell_host(control, order)) {
    process.signal(SIGKILL);
    process.reap();
    throw Error(ErrorCode::kUnavailable, "ssh takes nothing for host " + host);
  }
  return process;
}

bool tell_host(const fs::path& control, const json& order) {
  // For both directions: to write where nobody reads would be a signal.
  const FileDescriptor fifo(::open(control.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!fifo) return false;
  ::fcntl(fifo.get(), F_SETPIPE_SZ, kMostPipeBytes);  // where that is too much it has what it had
  const std::string line = order.dump() + "\n";
  std::string_view left = line;
  const Deadline deadline = Deadline::after(kOrderTime);
  while (!left.empty()) {
    const ssize_t written = ::write(fifo.get(), left.data(), left.size());
    if (written > 0) {
      left.remove_prefix(static_cast<std::size_t>(written));
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    pollfd wait{fifo.get(), POLLOUT, 0};
    if (errno != EAGAIN || deadline.expired() ||
        ::poll(&wait, 1, static_cast<int>(deadline.remaining().count())) <= 0) {
      return false;
    }
  }
  return true;
}

}  // namespace musher

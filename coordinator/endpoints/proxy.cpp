#include "coordinator/endpoints/proxy.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/deadline.h"
#include "common/error.h"
#include "coordinator/endpoints/instance_process.h"
#include "coordinator/host_agent.h"

namespace musher {
namespace {

constexpr auto kAnswerTime = std::chrono::seconds(2);

[[noreturn]] void unreachable(const std::filesystem::path& folder) {
  throw Error(ErrorCode::kUnavailable,
              fmt::format("{}/haproxy.sock: {}", folder.string(), std::strerror(errno)));
}

/// By way of the folder's descriptor: a socket's name may have 107 characters at most.
FileDescriptor connect_to(const std::filesystem::path& folder) {
  const FileDescriptor place(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!place || !socket) unreachable(folder);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/haproxy.sock", place.get());
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    unreachable(folder);
  return socket;
}

void send_all(const FileDescriptor& socket, std::string_view text,
              const std::filesystem::path& folder) {
  while (!text.empty()) {
    const ssize_t sent = ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) unreachable(folder);
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

/// HAProxy closes after its answer.
std::string receive_all(const FileDescriptor& socket, Deadline deadline,
                        const std::filesystem::path& folder) {
  std::string answer;
  char buffer[16 << 10];
  while (true) {
    pollfd wait{socket.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(deadline.remaining().count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      throw Error(ErrorCode::kDeadlineExceeded,
                  fmt::format("{}/haproxy.sock: HAProxy does not answer", folder.string()));
    }
    const ssize_t got = ready < 0 ? -1 : ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) unreachable(folder);
    if (got == 0) return answer;
    answer.append(buffer, static_cast<std::size_t>(got));
  }
}

}  // namespace

bool Proxy::adopt(const ProcessIdentity& identity) {
  process_ = Process::find(identity);
  return process_.has_value();
}

ProcessIdentity Proxy::start(const ProxyOptions& options) {
  for (const Process& left : writers_of(log())) left.signal(SIGKILL);
  write_private_file(folder_ / "haproxy.cfg", proxy_config(options));
  if (!options.certificate.empty())
    write_private_file(folder_ / kCertificateFile, options.certificate);
  if (!options.authority.empty()) write_private_file(folder_ / kAuthorityFile, options.authority);
  write_private_file(log(), "");
  SpawnOptions spawn;
  spawn.argv = {program_, "-db", "-C", folder_.string(), "-f", "haproxy.cfg"};
  spawn.output = log();
  finishing_ = false;
  process_ = Process::spawn(spawn);
  return process_->identity();
}

bool Proxy::has(const ProxyOptions& options) const {
  return head_of(folder_ / "haproxy.cfg") == proxy_config(options) &&
         (options.authority.empty() || head_of(folder_ / kAuthorityFile) == options.authority);
}

bool Proxy::alive() {
  if (!process_) return false;
  if (!has_ended(*process_)) return true;
  process_->reap();
  process_.reset();
  return false;
}

void Proxy::finish() {
  if (process_ && !std::exchange(finishing_, true)) process_->signal(SIGUSR1);
}

void Proxy::kill() {
  if (process_) process_->signal(SIGKILL);
}

/// The first alert, which is the cause; a summary follows it.
std::string Proxy::last_words() const {
  const std::string text = tail_of(log());
  const std::size_t alert = text.find("[ALERT]");
  if (alert == text.npos) return musher::last_words(text);
  const std::size_t colon = text.find(" : ", alert);
  const std::size_t begin = colon == text.npos ? alert : colon + 3;
  return text.substr(begin, text.find('\n', begin) - begin);
}

std::string Proxy::command(const std::string& text) {
  const FileDescriptor socket = connect_to(folder_);
  const timeval limit{kAnswerTime.count(), 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  send_all(socket, text + "\n", folder_);
  return receive_all(socket, Deadline::after(kAnswerTime), folder_);
}

void Proxy::renew(const std::string& certificate) {
  write_private_file(folder_ / kCertificateFile, certificate);
  // An empty line ends the certificate.
  const std::string set =
      command(fmt::format("set ssl cert {} <<\n{}", kCertificateFile, certificate));
  const std::string done = command(fmt::format("commit ssl cert {}", kCertificateFile));
  if (done.find("Success") == done.npos) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("HAProxy does not take the certificate: {} {}", set, done));
  }
}

ProxyStats Proxy::stats() {
  return parse_proxy_stats(command("show stat"));
}

void Proxy::add(const std::string& instance, const ProxyTarget& target) {
  const std::string answer = command(add_server_command(instance, target));
  if (answer.find("New server registered") == answer.npos) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("HAProxy does not take {}: {}", instance, answer));
  }
}

void Proxy::drain(const std::string& instance) {
  command(fmt::format("set server {}/{} state drain", kProxyBackend, instance));
}

void Proxy::remove(const std::string& instance) {
  command(
      fmt::format("set server {0}/{1} state maint; del server {0}/{1}", kProxyBackend, instance));
}

}  // namespace musher

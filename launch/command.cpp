#include "launch/command.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {

namespace {

constexpr std::size_t kMostOutput = 4 << 20;
constexpr int kLookMilliseconds = 20;  // whether a child that closed its output has ended

/// Two connected ends, closed with it. A pair of sockets: to write to one whose reader is gone is
/// an error there, and no SIGPIPE.
class Pipe {
 public:
  Pipe() {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_.data()) != 0) {
      throw Error(ErrorCode::kResourceExhausted, std::string("no pipe: ") + strerror(errno));
    }
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_end(std::size_t which) {
    if (ends_[which] >= 0) ::close(ends_[which]);
    ends_[which] = -1;
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

pid_t spawn(const std::vector<std::string>& argv, const Pipe& in, const Pipe& out,
            const Pipe& err) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, in.read_end(), 0);
  ::posix_spawn_file_actions_adddup2(&files, out.write_end(), 1);
  ::posix_spawn_file_actions_adddup2(&files, err.write_end(), 2);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (const int number : {SIGPIPE, SIGINT, SIGTERM}) sigaddset(&usual, number);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, words.front(), &files, &attributes, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    throw Error(ErrorCode::kInvalidArgument, argv.front() + " can't be run: " + strerror(error));
  }
  return pid;
}

/// False at its end.
bool read_some(int descriptor, std::string& text) {
  std::array<char, 16 << 10> buffer;
  const ssize_t n = ::read(descriptor, buffer.data(), buffer.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n <= 0) return false;
  const std::size_t room = kMostOutput - std::min(kMostOutput, text.size());
  text.append(buffer.data(), std::min(static_cast<std::size_t>(n), room));
  return true;
}

/// Feeds and reads until both outputs are at their end, or the deadline.
void exchange(Pipe& in, Pipe& out, Pipe& err, std::string_view input, CommandResult& result,
              Deadline deadline) {
  ::fcntl(in.write_end(), F_SETFL, O_NONBLOCK);
  while ((out.read_end() >= 0 || err.read_end() >= 0) && !deadline.expired()) {
    if (input.empty()) in.close_end(1);
    std::array<pollfd, 3> events{
        {{out.read_end(), POLLIN, 0}, {err.read_end(), POLLIN, 0}, {in.write_end(), POLLOUT, 0}}};
    ::poll(events.data(), events.size(),
           static_cast<int>(std::clamp<std::int64_t>(deadline.remaining().count(), 1, 1000)));
    if (events[0].revents != 0 && !read_some(out.read_end(), result.out)) out.close_end(0);
    if (events[1].revents != 0 && !read_some(err.read_end(), result.err)) err.close_end(0);
    if (in.write_end() >= 0 && events[2].revents != 0) {
      const ssize_t n = ::send(in.write_end(), input.data(), input.size(), MSG_NOSIGNAL);
      if (n > 0) input.remove_prefix(static_cast<std::size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) input = {};  // it reads no more
    }
  }
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& argv, const std::string& input,
                          Deadline deadline) {
  Pipe in;
  Pipe out;
  Pipe err;
  const pid_t pid = spawn(argv, in, out, err);
  in.close_end(0);
  out.close_end(1);
  err.close_end(1);
  CommandResult result;
  exchange(in, out, err, input, result, deadline);
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    if (deadline.expired() && !result.timed_out) {
      result.timed_out = true;
      ::kill(pid, SIGKILL);
    }
    ::poll(nullptr, 0, kLookMilliseconds);
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace musher

#include "coordinator/process.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {

namespace {

int open_pidfd(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

void send(int descriptor, int number) {
  ::syscall(SYS_pidfd_send_signal, descriptor, number, nullptr, 0);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string boot_id() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

/// 0 for a process that is gone or a zombie.
std::uint64_t start_time(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t end_of_name = stat.rfind(')');  // the name may hold anything
  if (end_of_name == stat.npos) return 0;
  std::istringstream fields(stat.substr(end_of_name + 1));
  std::string field;
  for (int number = 3; fields >> field; ++number) {
    if (number == 3 && field == "Z") return 0;
    if (number == 22) return std::stoull(field);
  }
  return 0;
}

bool has_argument(pid_t pid, const std::string& argument) {
  const std::string line = read_file("/proc/" + std::to_string(pid) + "/cmdline");
  const std::string wanted = argument + '\0';
  for (std::size_t at = line.find(wanted); at != line.npos; at = line.find(wanted, at + 1)) {
    if (at > 0 && line[at - 1] == '\0') return true;
  }
  return false;
}

/// NAME=VALUE of this process with `added` over it.
std::vector<std::string> environment_with(const std::map<std::string, std::string>& added) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) result.push_back(text);
  }
  for (const auto& [name, value] : added)
    result.push_back(std::string(name).append("=").append(value));
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  result.reserve(words.size() + 1);
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

FileDescriptor open_output(const std::filesystem::path& file) {
  if (file.empty()) return FileDescriptor(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  return FileDescriptor(::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
}

/// Between fork and exec: nothing but system calls. Returns when something failed, with errno.
void become(const SpawnOptions& options, char** argv, char** environment, int input, int output,
            pid_t parent) {
  sigset_t mask;
  sigemptyset(&mask);
  if (options.deaf_to_sigterm) sigaddset(&mask, SIGTERM);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_DFL);
  if (options.die_with_parent) {
    ::setpgid(0, 0);  // out of the reach of the terminal's Ctrl-C
    ::prctl(PR_SET_PDEATHSIG, SIGINT);
    if (::getppid() != parent) ::_exit(1);
  } else {
    ::setsid();
  }
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) return;
  // What is open without O_CLOEXEC, by whichever library, is not the child's. The pipe that tells
  // of a failed exec has the flag.
  ::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  ::execve(argv[0], argv, environment);
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Process Process::spawn(const SpawnOptions& options) {
  std::vector<std::string> words = options.argv;
  std::vector<std::string> variables = environment_with(options.environment);
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> environment = pointers(variables);
  // For both directions: a reader that is a FIFO's writer, too, sees no end of it.
  const FileDescriptor input(::open(options.input.c_str(), O_RDWR | O_CLOEXEC));
  if (!input) {
    throw Error(ErrorCode::kResourceExhausted,
                options.input.string() + " can't be read: " + std::strerror(errno));
  }
  const FileDescriptor output = open_output(options.output);
  int ends[2];
  if (!output || ::pipe2(ends, O_CLOEXEC) != 0) {
    throw Error(ErrorCode::kResourceExhausted,
                options.output.string() + " can't be written: " + std::strerror(errno));
  }
  const FileDescriptor failure_in(ends[0]);
  FileDescriptor failure_out(ends[1]);

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become(options, const_cast<char**>(argv.data()), const_cast<char**>(environment.data()),
           input.get(), output.get(), parent);
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(failure_out.get(), &error, sizeof error);
    ::_exit(127);
  }
  failure_out = FileDescriptor();
  int error = pid < 0 ? errno : 0;
  if (pid > 0 && ::read(failure_in.get(), &error, sizeof error) == sizeof error) {
    ::waitpid(pid, nullptr, 0);
  }
  if (error != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                options.argv.front() + " can't be started: " + std::strerror(error));
  }
  return Process({pid, start_time(pid), boot_id()}, FileDescriptor(open_pidfd(pid)));
}

std::optional<Process> Process::find(const ProcessIdentity& identity) {
  if (identity.pid <= 0 || identity.boot_id != boot_id()) return std::nullopt;
  FileDescriptor descriptor(open_pidfd(identity.pid));
  if (!descriptor || start_time(identity.pid) != identity.start) return std::nullopt;
  return Process(identity, std::move(descriptor));
}

bool Process::has_pending(int number) const {
  std::istringstream lines(read_file("/proc/" + std::to_string(identity_.pid) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("ShdPnd:")) continue;  // sent to the process, not to a thread
    return (std::stoull(line.substr(7), nullptr, 16) >> (number - 1) & 1) != 0;
  }
  return false;
}

void Process::signal(int number) const {
  send(descriptor_.get(), number);
}

void Process::reap() const {
  siginfo_t info;
  ::waitid(static_cast<idtype_t>(3 /* P_PIDFD */), static_cast<id_t>(descriptor_.get()), &info,
           WEXITED | WNOHANG);
}

std::optional<ProcessIdentity> identify(pid_t pid, const std::string& argument) {
  const std::uint64_t start = pid > 0 ? start_time(pid) : 0;
  if (start == 0 || (!argument.empty() && !has_argument(pid, argument))) return std::nullopt;
  return ProcessIdentity{pid, start, boot_id()};
}

int signal_by_argument(const std::string& argument, int number, pid_t but) {
  int found = 0;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return 0;
  while (const dirent* entry = ::readdir(folder)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0 || pid == but || pid == ::getpid() || !has_argument(pid, argument)) continue;
    // The descriptor holds on to the process, so that what is looked at again is what is signalled.
    const FileDescriptor descriptor(open_pidfd(pid));
    if (!descriptor || !has_argument(pid, argument)) continue;
    send(descriptor.get(), number);
    ++found;
  }
  ::closedir(folder);
  return found;
}

}  // namespace musher

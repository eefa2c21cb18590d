#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace musher {

/// A file descriptor that is closed with its owner.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// Names a process for good: a pid alone is used again.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start = 0;  ///< clock ticks since boot, field 22 of /proc/PID/stat
  std::string boot_id;      ///< of the machine's boot
};

struct SpawnOptions {
  std::vector<std::string> argv;                   ///< argv[0] is the program's path
  std::map<std::string, std::string> environment;  ///< added to this process's own
  /// Its stdin. A FIFO has no end for it, whoever else opens and closes it.
  std::filesystem::path input = "/dev/null";
  /// stdout and stderr are appended to it; empty: both are this process's stdout.
  std::filesystem::path output = {};
  /// SIGINT to the child when the thread that spawned it ends, however it ends. Otherwise it gets
  /// a session of its own, and outlives this process.
  bool die_with_parent = false;
  /// SIGTERM stays pending with the child, which is then asked for by has_pending().
  bool deaf_to_sigterm = false;
};

/// A process that was spawned, or found again by its identity. Dropping it does nothing to the
/// process. Thread-safe.
class Process {
 public:
  /// Throws kInvalidArgument naming the program where it can't be run.
  static Process spawn(const SpawnOptions& options);
  /// Absent: it is gone.
  static std::optional<Process> find(const ProcessIdentity& identity);

  const ProcessIdentity& identity() const { return identity_; }
  /// Becomes readable when the process ends.
  int descriptor() const { return descriptor_.get(); }
  /// Whether it was sent a signal that it has blocked. False for one that is gone.
  bool has_pending(int number) const;
  /// One that is gone is no error.
  void signal(int number) const;
  /// Takes the exit status of a child that ended, so that it does not stay a zombie.
  void reap() const;

 private:
  Process(ProcessIdentity identity, FileDescriptor descriptor)
      : identity_(std::move(identity)), descriptor_(std::move(descriptor)) {}
  ProcessIdentity identity_;
  FileDescriptor descriptor_;
};

/// The process `pid` of this machine as it is now; absent where there is none, or where `argument`
/// is not empty and not among its arguments.
std::optional<ProcessIdentity> identify(pid_t pid, const std::string& argument);

/// Signals each process of this machine that has `argument` among its arguments, other than `but`;
/// returns how many there were. This is how the processes of an attempt are found: each has the
/// path of the attempt's token file.
int signal_by_argument(const std::string& argument, int number, pid_t but = 0);

}  // namespace musher

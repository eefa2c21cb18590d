#include "coordinator/cli/daemon_options.h"

#include <signal.h>
#include <unistd.h>

#include "storage/local_cache.h"

namespace musher::cli {

namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

std::string beside_this_program(const char* name) {
  return std::filesystem::read_symlink("/proc/self/exe").replace_filename(name);
}

void check_program(const std::string& path, const char* flag) {
  if (::access(path.c_str(), X_OK) == 0) return;
  throw Error(ErrorCode::kInvalidArgument,
              path + " is not a program that can be run; name it with --" + flag);
}

}  // namespace

void DaemonOptions::add_to(Options& options) {
  options.add("stop-grace", &stop_grace, "SECONDS",
              "how long ranks may save the model after a stop (120)");
  options.add("regroup-limit", &regroup_limit, "SECONDS",
              "how long ranks may take to go on without one that died (60)");
  options.add("cache", &cache, "DIR",
              "where each host keeps data of s3:// channels, between jobs too "
              "(~/.cache/musher/data)");
  options.add("cache-limit", &cache_limit, "SIZE",
              "the most that it may take on a host, such as 500GB; 0: keep nothing (20GiB)");
  options.add("mpirun", &mpirun, "PATH", "Open MPI 5's mpirun (that of the pinned environment)");
  options.add("trainer", &trainer, "PATH", "the worker program (musher-trainer beside musher)");
}

CoordinatorOptions DaemonOptions::coordinator(const std::filesystem::path& state,
                                              const std::filesystem::path& scratch) const {
  CoordinatorOptions options;
  options.state = std::filesystem::absolute(state);
  options.scratch = scratch;
  options.storage = StorageConfig::from_environment();
  options.cores = cores_of_this_machine();
  options.mpirun = mpirun.empty() ? MUSHER_MPIRUN : mpirun;
  options.trainer = trainer.empty() ? beside_this_program("musher-trainer")
                                    : std::filesystem::absolute(trainer).string();
  if (!cache.empty()) {
    options.trainer_arguments = {"--cache", std::filesystem::absolute(cache).string()};
  }
  if (!cache_limit.empty()) {
    const std::uint64_t bytes = parse_bytes(cache_limit, "--cache-limit");
    options.trainer_arguments.insert(options.trainer_arguments.end(),
                                     {"--cache-limit", std::to_string(bytes)});
  }
  check_program(options.mpirun, "mpirun");
  check_program(options.trainer, "trainer");
  options.grace.stop = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * stop_grace));
  options.regroup_limit =
      std::chrono::milliseconds(static_cast<std::int64_t>(1000 * regroup_limit));
  return options;
}

int cores_of_this_machine() {
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

void block_stop_signals() {
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int wait_for_stop_signal(Deadline deadline) {
  const sigset_t set = stop_signals();
  const auto left = deadline.remaining();
  const timespec wait{left.count() / 1000, left.count() % 1000 * 1'000'000};
  return std::max(0, ::sigtimedwait(&set, nullptr, &wait));
}

}  // namespace musher::cli

#include "trainer/collective/host_watch.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/checksum.h"
#include "trainer/collective/pmix.h"

namespace musher {
namespace {

/// The same for processes that can share memory: one kernel, one host name (containers and test
/// hosts have their own), one space of process ids, by which segments are found.
std::uint64_t host_identity() {
  std::string text(256, '\0');
  gethostname(text.data(), text.size() - 1);
  text.resize(text.find('\0'));
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  std::error_code ignored;
  text += boot + std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
  return hash64(std::as_bytes(std::span(text)));
}

musher_pmix_proc pmix_process(const ProcessIdentity& process) {
  musher_pmix_proc out{};
  std::memcpy(out.nspace, process.pmix_namespace, sizeof out.nspace);
  out.rank = process.pmix_rank;
  return out;
}

/// As mpirun would, but within this process alone.
void tell_mpi(const ProcessIdentity& own, const ProcessIdentity& dead) {
  if (dead.pmix_namespace[0] == '\0') return;
  const musher_pmix_proc source = pmix_process(own);
  musher_pmix_proc affected = pmix_process(dead);
  musher_pmix_info info{};
  std::strncpy(info.key, kPmixAffectedProcess, sizeof info.key - 1);
  info.value.type = kPmixTypeProcess;
  info.value.data.proc = &affected;
  PMIx_Notify_event(kPmixProcessAbortedBySignal, &source, kPmixRangeThisProcess, &info, 1, nullptr,
                    nullptr);
}

}  // namespace

ProcessIdentity ProcessIdentity::of_this_process() {
  ProcessIdentity own;
  own.host = host_identity();
  own.pid = getpid();
  // How a launcher names a process to itself: PMIx Standard 4.1, section 3.3.
  const char* const nspace = std::getenv("PMIX_NAMESPACE");
  const char* const rank = std::getenv("PMIX_RANK");
  if (nspace == nullptr || rank == nullptr) return own;
  std::uint32_t number = 0;
  if (std::from_chars(rank, rank + std::strlen(rank), number).ec != std::errc()) return own;
  own.pmix_rank = number;
  std::strncpy(own.pmix_namespace, nspace, sizeof own.pmix_namespace - 1);
  return own;
}

HostWatch::HostWatch(const std::vector<ProcessIdentity>& processes)
    : own_(ProcessIdentity::of_this_process()) {
  for (const ProcessIdentity& process : processes) add(process);
}

HostWatch::~HostWatch() {
  for (const Watched& watched : watched_) {
    if (watched.pidfd >= 0) close(watched.pidfd);
  }
}

void HostWatch::add(const ProcessIdentity& process) {
  if (process.host != own_.host || process.pid == own_.pid) return;
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  if (pidfd < 0 && errno != ESRCH) return;  // no pidfd here: mpirun alone tells
  std::lock_guard lock(mutex_);
  watched_.push_back({process, pidfd});
}

void HostWatch::look() {
  std::lock_guard lock(mutex_);
  std::erase_if(watched_, [this](const Watched& watched) {
    pollfd waiting{watched.pidfd, POLLIN, 0};
    if (watched.pidfd >= 0 && poll(&waiting, 1, 0) != 1) return false;
    if (watched.pidfd >= 0) close(watched.pidfd);
    tell_mpi(own_, watched.process);
    return true;
  });
}

}  // namespace musher

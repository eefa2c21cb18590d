// How the ranks of an MpiGroup come to share the memory of their hosts.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/error.h"
#include "trainer/collective/mpi_group.h"

namespace musher {
namespace {

std::shared_ptr<void> plain_memory(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  const std::size_t rounded =
      std::max((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("no memory for a buffer of {} bytes", bytes));
  }
  std::memset(memory, 0, rounded);
  return {memory, std::free};
}

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

}  // namespace

/// Whether every rank says yes; the same answer on all.
bool MpiGroup::all_agree(bool mine) {
  int answer = mine ? 1 : 0;
  check(MPI_Allreduce(MPI_IN_PLACE, &answer, 1, MPI_INT, MPI_MIN, comm_), "agreement");
  return answer != 0;
}

/// Splits the ranks by host. False where no two ranks share one. Not by MPI_COMM_TYPE_SHARED: with
/// a rank that was started later among them Open MPI 5.0 took that for dead.
bool MpiGroup::group_by_host() {
  const std::uint64_t own_host = options_.ranks_per_host > 0
                                     ? static_cast<std::uint64_t>(rank_ / options_.ranks_per_host)
                                     : host_identity();
  std::vector<std::uint64_t> hosts(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&own_host, 1, MPI_UINT64_T, hosts.data(), 1, MPI_UINT64_T, comm_),
        "exchange of hosts");
  const auto first = std::find(hosts.begin(), hosts.end(), own_host) - hosts.begin();
  check(MPI_Comm_split(comm_, static_cast<int>(first), rank_, &host_comm_), "split by host");
  MPI_Comm_set_errhandler(host_comm_, MPI_ERRORS_RETURN);
  int own = 0, here = 1;
  MPI_Comm_rank(host_comm_, &own);
  MPI_Comm_size(host_comm_, &here);
  shares_host_ = !all_agree(here == 1);
  if (!shares_host_) return false;
  several_hosts_ = !all_agree(here == size_);
  if (!several_hosts_) return true;
  check(MPI_Comm_split(comm_, own == 0 ? 0 : MPI_UNDEFINED, rank_, &leaders_),
        "split of the leaders");
  if (leaders_ != MPI_COMM_NULL) MPI_Comm_set_errhandler(leaders_, MPI_ERRORS_RETURN);
  return true;
}

/// Memory shared by the ranks of the host. Null, on all ranks, where one of them can't. Collective
/// over all ranks.
std::shared_ptr<SharedSegment> MpiGroup::make_segment(std::size_t bytes) {
  std::shared_ptr<SharedSegment> segment;
  SharedSegment::Handle own;
  try {
    segment = std::make_shared<SharedSegment>(bytes);
    own = segment->handle();
  } catch (const Error&) {  // the others then find nothing to attach to
  }
  int here = 1;
  MPI_Comm_size(host_comm_, &here);
  std::vector<SharedSegment::Handle> handles(static_cast<std::size_t>(here));
  check(MPI_Allgather(&own, sizeof own, MPI_BYTE, handles.data(), sizeof own, MPI_BYTE, host_comm_),
        "exchange of handles");
  bool attached = segment != nullptr;
  try {
    if (attached) segment->attach(handles);
  } catch (const Error&) {
    attached = false;
  }
  return all_agree(attached) ? segment : nullptr;
}

void MpiGroup::share_memory(const Segments& segments) {
  if (!options_.shared_memory || size_ == 1 || !group_by_host()) return;
  auto control = make_segment(SharedMemoryGroup::control_bytes());
  if (!control) return;

  struct Facts {
    std::int64_t pid, rank;
  };
  const Facts own{getpid(), rank_};
  int here = 1, position = 0;
  MPI_Comm_size(host_comm_, &here);
  MPI_Comm_rank(host_comm_, &position);
  std::vector<Facts> facts(static_cast<std::size_t>(here));
  check(MPI_Allgather(&own, sizeof own, MPI_BYTE, facts.data(), sizeof own, MPI_BYTE, host_comm_),
        "exchange of ranks");
  std::vector<SharedMemoryGroup::Member> members;
  for (const Facts& fact : facts)
    members.push_back({static_cast<pid_t>(fact.pid), static_cast<int>(fact.rank)});

  std::unique_ptr<SharedMemoryGroup> host;
  try {
    host = std::make_unique<SharedMemoryGroup>(members, static_cast<std::size_t>(position),
                                               std::move(control));
  } catch (const Error&) {  // this system has no pidfd
  }
  if (!all_agree(host != nullptr)) return;
  for (const auto& segment : segments) host->adopt(segment);
  host_ = std::move(host);
}

std::string MpiGroup::transport() const {
  if (size_ == 1) return "no other rank";
  if (host_) {
    return several_hosts_ ? "shared memory within hosts, MPI between them"
                          : "shared memory of this host";
  }
  return shares_host_ ? "MPI alone, for this system does not let the ranks of a host share memory"
                      : "MPI";
}

std::shared_ptr<void> MpiGroup::allocate(std::size_t bytes) {
  return run([&]() -> std::shared_ptr<void> {
    if (!host_) return plain_memory(bytes);
    const auto segment = make_segment(bytes);
    if (!segment) return plain_memory(bytes);
    host_->adopt(segment);
    return {segment, segment->own()};
  });
}

}  // namespace musher

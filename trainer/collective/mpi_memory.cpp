// How the ranks of an MpiGroup introduce themselves, and come to share the memory of their hosts.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

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

/// More than the communicators that one regrouping makes beside those that are counted.
constexpr std::int64_t kUncounted = 8;

}  // namespace

/// All that a new communicator needs to be a group. Collective over its ranks.
void MpiGroup::found(const Segments& segments) {
  introduce();
  share_memory(segments);
}

/// Makes every rank's processes known to all, so that each watches those of its host, and brings
/// the ranks level (trainer/collective/communicator_count.h).
void MpiGroup::introduce() {
  struct Introduction {
    ProcessIdentity process;
    std::int64_t communicators;
  };
  const Introduction own{ProcessIdentity::of_this_process(), context_.communicators->value()};
  std::vector<Introduction> all(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&own, sizeof own, MPI_BYTE, all.data(), sizeof own, MPI_BYTE, comm_),
        "introduction of the ranks");
  std::int64_t most = 0;
  for (const Introduction& rank : all) {
    processes_.push_back(rank.process);
    most = std::max(most, rank.communicators);
  }
  watch_ = std::make_unique<HostWatch>(processes_);
  context_.communicators->raise_to(most + kUncounted);
}

/// Whether every rank says yes; the same answer on all.
bool MpiGroup::all_agree(bool mine) {
  int answer = mine ? 1 : 0;
  check(MPI_Allreduce(MPI_IN_PLACE, &answer, 1, MPI_INT, MPI_MIN, comm_), "agreement");
  return answer != 0;
}

/// Splits the ranks by host. False where no two ranks share one. Not by MPI_COMM_TYPE_SHARED: with
/// a rank that was started later among them Open MPI 5.0 took that for dead.
bool MpiGroup::group_by_host() {
  const int per_host = context_.options.ranks_per_host;
  std::vector<std::uint64_t> hosts;
  hosts.reserve(static_cast<std::size_t>(size_));
  for (int rank = 0; rank < size_; ++rank) {
    hosts.push_back(per_host > 0 ? static_cast<std::uint64_t>(rank / per_host)
                                 : processes_[static_cast<std::size_t>(rank)].host);
  }
  const auto own_host = hosts[static_cast<std::size_t>(rank_)];
  const auto first = std::find(hosts.begin(), hosts.end(), own_host) - hosts.begin();
  context_.communicators->add(1);
  check(MPI_Comm_split(comm_, static_cast<int>(first), rank_, &host_comm_), "split by host");
  MPI_Comm_set_errhandler(host_comm_, MPI_ERRORS_RETURN);
  int own = 0, here = 1;
  MPI_Comm_rank(host_comm_, &own);
  MPI_Comm_size(host_comm_, &here);
  shares_host_ = !all_agree(here == 1);
  if (!shares_host_) return false;
  several_hosts_ = !all_agree(here == size_);
  if (!several_hosts_) return true;
  context_.communicators->add(1);
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
  if (!context_.options.shared_memory || size_ == 1 || !group_by_host()) return;
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
  members.reserve(facts.size());
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

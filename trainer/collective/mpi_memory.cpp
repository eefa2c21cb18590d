// How the ranks of an MpiGroup introduce themselves, and come to share the memory of their hosts.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <mpi.h>

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

/// The ranks of this rank's host, in order, with communicators split accordingly; empty where no
/// two ranks share one. Not by MPI_COMM_TYPE_SHARED: with a rank that was started later among them
/// Open MPI 5.0 took that for dead.
std::vector<int> MpiGroup::group_by_host() {
  const auto host_of = [this](int rank) {
    const int per_host = context_.options.ranks_per_host;
    return per_host > 0 ? static_cast<std::uint64_t>(rank / per_host)
                        : processes_[static_cast<std::size_t>(rank)].host;
  };
  std::set<std::uint64_t> hosts;
  std::vector<int> neighbours;
  for (int rank = 0; rank < size_; ++rank) {
    hosts.insert(host_of(rank));
    if (host_of(rank) == host_of(rank_)) neighbours.push_back(rank);
  }
  shares_host_ = hosts.size() < static_cast<std::size_t>(size_);
  several_hosts_ = hosts.size() > 1;
  if (!shares_host_) return {};
  host_comm_ = split(neighbours.front(), "split by host");
  if (several_hosts_) {
    leaders_ = split(rank_ == neighbours.front() ? 0 : MPI_UNDEFINED, "split of the leaders");
  }
  return neighbours;
}

/// The ranks of the same `color`; null for MPI_UNDEFINED.
MPI_Comm MpiGroup::split(int color, const char* what) {
  MPI_Comm part = MPI_COMM_NULL;
  context_.communicators->add(1);
  check(MPI_Comm_split(comm_, color, rank_, &part), what);
  if (part != MPI_COMM_NULL) MPI_Comm_set_errhandler(part, MPI_ERRORS_RETURN);
  return part;
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
  if (!context_.options.shared_memory || size_ == 1) return;
  const std::vector<int> neighbours = group_by_host();
  if (neighbours.empty()) return;
  auto control = make_segment(SharedMemoryGroup::control_bytes());
  if (!control) return;

  std::vector<SharedMemoryGroup::Member> members;
  members.reserve(neighbours.size());
  for (const int rank : neighbours) {
    const auto pid = static_cast<pid_t>(processes_[static_cast<std::size_t>(rank)].pid);
    members.push_back({pid, rank});
  }
  const auto own = std::find(neighbours.begin(), neighbours.end(), rank_) - neighbours.begin();
  std::unique_ptr<SharedMemoryGroup> host;
  try {
    host = std::make_unique<SharedMemoryGroup>(members, static_cast<std::size_t>(own),
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

#include "trainer/collective/mpi_group.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>

#include <fmt/format.h>
#include <mpi-ext.h>
#include <sched.h>

#include "common/error.h"
#include "trainer/collective/mpi_messages.h"
#include "trainer/collective/summation.h"

namespace musher {
namespace {

/// Pieces of an all-reduce that are under way at a time: what one waits for the network, others
/// use.
constexpr std::size_t kPiecesUnderWay = 4;
/// Pieces of a broadcast that its root may be ahead of the others. Its sends wait for nobody, and
/// what comes too early takes memory.
constexpr int kPiecesAhead = 16;

void add_bfloat16(void* in, void* inout, int* count, MPI_Datatype*) {
  const void* const inputs[] = {in, inout};
  sum_into(DType::kBFloat16, inout, inputs, static_cast<std::size_t>(*count));
}

void add_float16(void* in, void* inout, int* count, MPI_Datatype*) {
  const void* const inputs[] = {in, inout};
  sum_into(DType::kFloat16, inout, inputs, static_cast<std::size_t>(*count));
}

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return MPI_FLOAT;
    case DType::kFloat64:
      return MPI_DOUBLE;
    case DType::kBFloat16:
    case DType::kFloat16:
      return MPI_UINT16_T;  // summed by operators of our own
    case DType::kInt64:
      return MPI_INT64_T;
    case DType::kUInt8:
      return MPI_UINT8_T;
  }
  return MPI_DATATYPE_NULL;
}

std::string error_text(int code) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<std::size_t>(length));
}

bool is_peer_failure(int code) {
  int error_class = code;
  MPI_Error_class(code, &error_class);
  return error_class == MPIX_ERR_PROC_FAILED || error_class == MPIX_ERR_PROC_FAILED_PENDING ||
         error_class == MPIX_ERR_REVOKED;
}

/// A non-blocking collective that a revocation cuts off was seen to end with MPI_ERR_OTHER.
bool is_revoked(MPI_Comm comm) {
  int revoked = 0;
  return comm != MPI_COMM_NULL && MPIX_Comm_is_revoked(comm, &revoked) == MPI_SUCCESS &&
         revoked != 0;
}

/// Whether every living rank says yes; the same answer on all, whatever has become of the
/// communicator. Also the point after which all of them have what was made just before: revoking a
/// communicator that some rank is still making was seen to end that rank by a segmentation fault
/// in Open MPI 5.0.
bool all_have(MPI_Comm comm, bool mine) {
  int answer = mine ? 1 : 0;
  MPIX_Comm_agree(comm, &answer);
  return answer != 0;
}

/// The buffer in pieces that each fit one message.
template <typename Step>
void in_pieces(const Buffer& buffer, Step&& step) {
  auto* bytes = static_cast<std::byte*>(buffer.data);
  const std::size_t most = kMostMessageBytes / size_of(buffer.dtype);
  for (std::size_t begin = 0; begin < buffer.count; begin += most) {
    const auto count = static_cast<int>(std::min(most, buffer.count - begin));
    step(bytes + begin * size_of(buffer.dtype), count);
  }
}

/// Ends what is under way on a communicator that has failed, so that nothing writes to its buffers
/// any more.
void let_go(MPI_Comm comm, std::deque<MPI_Request>& requests) {
  MPIX_Comm_revoke(comm);
  const Deadline deadline = Deadline::after(MpiGroup::kLetGo);
  for (MPI_Request& request : requests) {
    for (int done = 0; done == 0 && request != MPI_REQUEST_NULL && !deadline.expired();) {
      if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
    }
  }
}

}  // namespace

std::shared_ptr<MpiGroup> MpiGroup::of_world(const Context& context, Deadline deadline) {
  return shrunken(MPI_COMM_WORLD, context, {}, deadline);
}

std::shared_ptr<MpiGroup> MpiGroup::survivors(Deadline deadline) const {
  return shrunken(comm_, context_, host_ ? host_->adopted() : Segments{}, deadline);
}

std::shared_ptr<MpiGroup> MpiGroup::shrunken(MPI_Comm parent, const Context& context,
                                             const Segments& segments, Deadline deadline) {
  // A shrink is a duplicate that copes with ranks that are dead already, so the world's first group
  // is made by it too. A rank that dies in the middle fails the new group, on whichever ranks
  // notice; all then shrink once more.
  std::shared_ptr<MpiGroup> failed;
  while (true) {
    const MPI_Comm from = failed ? failed->comm_ : parent;
    MPI_Comm comm = MPI_COMM_NULL;
    const int code = MPIX_Comm_shrink(from, &comm);
    context.communicators->add(1);
    if (code != MPI_SUCCESS && !is_peer_failure(code)) {
      throw Error(ErrorCode::kInternal, fmt::format("MPIX_Comm_shrink: {}", error_text(code)));
    }
    if (all_have(from, code == MPI_SUCCESS)) {
      std::shared_ptr<MpiGroup> group(new MpiGroup(comm, context));
      bool complete = true;
      try {
        group->found(segments);
      } catch (const PeerFailure&) {
        complete = false;
        MPIX_Comm_revoke(comm);  // so that nobody waits for this rank in it
      }
      if (all_have(from, complete)) return group;
      group->fail("a rank died while the ranks found together");
      failed = std::move(group);
    }
    if (deadline.expired()) throw PeerFailure("ranks kept dying until the deadline of the shrink");
  }
}

MpiGroup::MpiGroup(MPI_Comm comm, const Context& context) : comm_(comm), context_(context) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  MPI_Op_create(add_bfloat16, /*commute=*/1, &sum_bfloat16_);
  MPI_Op_create(add_float16, /*commute=*/1, &sum_float16_);
}

MpiGroup::~MpiGroup() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) return;
  MPI_Op_free(&sum_bfloat16_);
  MPI_Op_free(&sum_float16_);
  // Freeing is collective. After a failure the other ranks may never come, so the communicators are
  // left to the process's end.
  if (failed_) return;
  for (MPI_Comm* comm : {&leaders_, &host_comm_, &comm_}) {
    if (*comm != MPI_COMM_NULL) MPI_Comm_free(comm);
  }
}

void MpiGroup::all_reduce(const Buffer& buffer) {
  run([&] {
    if (!host_) return all_reduce_over(comm_, buffer);
    host_->all_reduce(buffer);
    if (!several_hosts_) return;
    if (leaders_ != MPI_COMM_NULL) all_reduce_over(leaders_, buffer);
    host_->share(buffer);
  });
}

void MpiGroup::all_reduce_over(MPI_Comm comm, const Buffer& buffer) {
  const MPI_Datatype type = mpi_type(buffer.dtype);
  std::deque<MPI_Request> under_way;
  try {
    in_pieces(buffer, [&](void* data, int count) {
      if (under_way.size() == kPiecesUnderWay) {
        wait_for(under_way.front());
        under_way.pop_front();
      }
      MPI_Request& request = under_way.emplace_back(MPI_REQUEST_NULL);
      check(MPI_Iallreduce(MPI_IN_PLACE, data, count, type, sum_of(buffer.dtype), comm, &request),
            "all-reduce");
    });
    for (MPI_Request& request : under_way) wait_for(request);
  } catch (...) {
    let_go(comm, under_way);
    throw;
  }
}

/// Polls, so that the death of a rank of this host, of which the other leaders know nothing, ends
/// the wait for them.
void MpiGroup::wait_for(MPI_Request& request) {
  for (int done = 0, polls = 1; done == 0; ++polls) {
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "all-reduce");
    if (done != 0 || polls % 256 != 0) continue;
    const auto reason = host_ ? host_->failure() : std::nullopt;
    if (reason) throw PeerFailure(*reason);
    sched_yield();
  }
}

MPI_Op MpiGroup::sum_of(DType dtype) const {
  if (dtype == DType::kBFloat16) return sum_bfloat16_;
  return dtype == DType::kFloat16 ? sum_float16_ : MPI_SUM;
}

void MpiGroup::broadcast(const Buffer& buffer, int root) {
  run([&] {
    int piece = 0;
    in_pieces(buffer, [&](void* data, int count) {
      if (++piece % kPiecesAhead == 0) check(MPI_Barrier(comm_), "broadcast");
      check(MPI_Bcast(data, count, mpi_type(buffer.dtype), root, comm_), "broadcast");
    });
  });
}

/// In parts of each rank's elements of which all ranks' together fit one message.
void MpiGroup::all_gather(const Buffer& send, const Buffer& receive) {
  const std::size_t size = size_of(send.dtype), ranks = static_cast<std::size_t>(size_);
  const std::size_t most = std::max<std::size_t>(kMostMessageBytes / (size * ranks), 1);
  const MPI_Datatype type = mpi_type(send.dtype);
  const auto* from = static_cast<const std::byte*>(send.data);
  auto* to = static_cast<std::byte*>(receive.data);
  std::vector<std::byte> parts;
  run([&] {
    for (std::size_t begin = 0; begin < send.count; begin += most) {
      const std::size_t count = std::min(most, send.count - begin);
      parts.resize(count * size * ranks);
      const auto elements = static_cast<int>(count);
      check(MPI_Allgather(from + begin * size, elements, type, parts.data(), elements, type, comm_),
            "all-gather");
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        std::memcpy(to + (rank * send.count + begin) * size, parts.data() + rank * count * size,
                    count * size);
      }
    }
  });
}

void MpiGroup::check(int code, std::string_view operation) const {
  if (code == MPI_SUCCESS) return;
  // A collective that was cut off may end with any error code, so the state decides beside the
  // code.
  const std::vector<int> dead = dead_ranks();
  if (!dead.empty()) throw PeerFailure(fmt::format("rank {} died", fmt::join(dead, ", ")));
  if (failed_ || is_peer_failure(code) || is_revoked(comm_) || is_revoked(leaders_)) {
    throw PeerFailure("another rank gave up");
  }
  throw Error(ErrorCode::kInternal,
              fmt::format("rank {}: MPI {}: {}", rank_, operation, error_text(code)));
}

std::vector<int> MpiGroup::dead_ranks() const {
  MPI_Group dead = MPI_GROUP_NULL, all = MPI_GROUP_NULL;
  if (MPIX_Comm_get_failed(comm_, &dead) != MPI_SUCCESS) return {};
  MPI_Comm_group(comm_, &all);
  int count = 0;
  MPI_Group_size(dead, &count);
  std::vector<int> numbers(static_cast<std::size_t>(count)), ranks(numbers.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  if (count > 0) MPI_Group_translate_ranks(dead, count, numbers.data(), all, ranks.data());
  MPI_Group_free(&all);
  MPI_Group_free(&dead);
  return ranks;
}

void MpiGroup::fail(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    if (failed_) return;
    reason_ = reason;
    failed_ = true;
  }
  if (host_) host_->abort();
  for (MPI_Comm comm : {comm_, host_comm_, leaders_, growing_.load()}) {
    if (comm != MPI_COMM_NULL) MPIX_Comm_revoke(comm);
  }
}

void MpiGroup::look_for_deaths() {
  if (watch_) watch_->look();
}

void MpiGroup::watch(const ProcessIdentity& process) {
  if (watch_) watch_->add(process);
}

std::optional<std::string> MpiGroup::failure() {
  {
    std::lock_guard lock(mutex_);
    if (failed_) return reason_;
  }
  if (host_) {
    if (auto reason = host_->failure()) return reason;
  }
  look_for_deaths();
  // Any call into MPI takes in the news that wait at the door; the probe is the cheapest.
  int flag = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &flag, MPI_STATUS_IGNORE);
  const std::vector<int> dead = dead_ranks();
  if (!dead.empty()) return fmt::format("rank {} died", fmt::join(dead, ", "));
  MPIX_Comm_is_revoked(comm_, &flag);
  if (flag != 0) return "another rank gave up";
  return std::nullopt;
}

}  // namespace musher

#include "trainer/collective/mpi_group.h"

#include <algorithm>
#include <climits>

#include <fmt/format.h>
#include <mpi-ext.h>

#include "common/error.h"
#include "trainer/collective/summation.h"

namespace musher {
namespace {

// MPI counts in int; larger buffers go in pieces of this many elements.
constexpr std::size_t kMostElements = std::size_t{1} << 30;

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

template <typename Step>
void in_pieces(const Buffer& buffer, Step&& step) {
  auto* bytes = static_cast<std::byte*>(buffer.data);
  for (std::size_t begin = 0; begin < buffer.count; begin += kMostElements) {
    const auto count = static_cast<int>(std::min(kMostElements, buffer.count - begin));
    step(bytes + begin * size_of(buffer.dtype), count);
  }
}

}  // namespace

std::shared_ptr<MpiGroup> MpiGroup::survivors_of(MPI_Comm parent, const MpiOptions& options,
                                                 Deadline deadline) {
  // A shrink is a duplicate that copes with ranks that are dead already, so the world's first group
  // is made by it too.
  while (true) {
    MPI_Comm comm = MPI_COMM_NULL;
    const int code = MPIX_Comm_shrink(parent, &comm);
    if (code == MPI_SUCCESS) return std::make_shared<MpiGroup>(comm, options);
    if (!is_peer_failure(code)) {
      throw Error(ErrorCode::kInternal, fmt::format("MPIX_Comm_shrink: {}", error_text(code)));
    }
    if (deadline.expired()) throw PeerFailure("ranks kept dying until the deadline of the shrink");
  }
}

MpiGroup::MpiGroup(MPI_Comm comm, const MpiOptions& options) : comm_(comm), options_(options) {
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
  // Freeing is collective. After a failure the other ranks may never come, so the communicator is
  // left to the process's end.
  if (!failed_) MPI_Comm_free(&comm_);
}

template <typename Operation>
void MpiGroup::run(Operation&& operation) {
  if (failed_) throw PeerFailure(failure().value_or("the collective has failed"));
  try {
    operation();
  } catch (const std::exception& error) {
    fail(error.what());
    throw;
  }
}

void MpiGroup::all_reduce(const Buffer& buffer) {
  run([&] { all_reduce_over(comm_, buffer); });
}

void MpiGroup::all_reduce_over(MPI_Comm comm, const Buffer& buffer) {
  const MPI_Op sum = buffer.dtype == DType::kBFloat16  ? sum_bfloat16_
                     : buffer.dtype == DType::kFloat16 ? sum_float16_
                                                       : MPI_SUM;
  in_pieces(buffer, [&](void* data, int count) {
    check(MPI_Allreduce(MPI_IN_PLACE, data, count, mpi_type(buffer.dtype), sum, comm),
          "all-reduce");
  });
}

void MpiGroup::broadcast(const Buffer& buffer, int root) {
  run([&] {
    in_pieces(buffer, [&](void* data, int count) {
      check(MPI_Bcast(data, count, mpi_type(buffer.dtype), root, comm_), "broadcast");
    });
  });
}

void MpiGroup::all_gather(const Buffer& send, const Buffer& receive) {
  const auto count = static_cast<int>(send.count);
  run([&] {
    check(MPI_Allgather(send.data, count, mpi_type(send.dtype), receive.data, count,
                        mpi_type(receive.dtype), comm_),
          "all-gather");
  });
}

void MpiGroup::check(int code, std::string_view operation) {
  if (code == MPI_SUCCESS) return;
  // A collective that was cut off may end with any error code, so the state decides beside the
  // code.
  if (failed_ || is_peer_failure(code) || !dead_ranks().empty()) {
    throw PeerFailure(fmt::format("rank {} of {}: {}: {}", rank_, size_, operation,
                                  describe_dead("another rank gave up")));
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
  for (int i = 0; i < count; ++i) numbers[static_cast<std::size_t>(i)] = i;
  if (count > 0) MPI_Group_translate_ranks(dead, count, numbers.data(), all, ranks.data());
  MPI_Group_free(&all);
  MPI_Group_free(&dead);
  return ranks;
}

std::string MpiGroup::describe_dead(std::string_view otherwise) const {
  const std::vector<int> dead = dead_ranks();
  if (dead.empty()) return std::string(otherwise);
  return fmt::format("rank {} died", fmt::join(dead, ", "));
}

void MpiGroup::fail(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    if (failed_) return;
    reason_ = reason;
    failed_ = true;
  }
  MPIX_Comm_revoke(comm_);
}

std::optional<std::string> MpiGroup::failure() {
  {
    std::lock_guard lock(mutex_);
    if (failed_) return reason_;
  }
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

#include "fake_nccl.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <cuda_runtime_api.h>

#include "trainer/collective/summation.h"

namespace {

using musher::DType;

struct Operation;
using Operations = std::vector<std::shared_ptr<Operation>>;

/// What several ranks do together: their contributions, by rank.
struct Meeting {
  std::map<int, std::shared_ptr<Operation>> came;
  bool done = false;
};

struct Faults {
  int polls_in_progress = 0;
  ncclResult_t async_error = ncclSuccess;
  bool hang = false;
  ncclResult_t init_error = ncclSuccess;
  ncclResult_t shrink_error = ncclSuccess;
  cudaError_t event_error = cudaSuccess;
};

/// Ranks that made a communicator together.
struct World {
  int size = 0;
  int joined = 0;
  std::map<int, Meeting> meetings;  ///< by the number of the operation
};

}  // namespace

struct ncclComm {
  std::shared_ptr<World> world;
  int rank = 0;
  int first_rank = 0;  ///< in the first communicator: whose faults apply
  int issued = 0;
  int polls = 0;  ///< for which it stays in progress
  bool aborted = false;
  bool is_shrunk_away = false;
};

struct CUstream_st {
  Operations queue;
  float* target = nullptr;  ///< of a producer
  float value = 0;
};

struct CUevent_st {
  Operations before;
};

namespace {

/// One thing in a stream.
struct Operation {
  enum Kind { kCollective, kProducer } kind = kCollective;
  bool done = false;
  Operations after;  ///< what must be done before
  ncclComm* comm = nullptr;
  int number = 0;
  enum Call { kAllReduce, kBroadcast, kAllGather } call = kAllReduce;
  const void* send = nullptr;
  void* receive = nullptr;
  std::size_t count = 0;
  ncclDataType_t type = ncclFloat32;
  int root = 0;
};

struct State {
  std::mutex mutex;
  int next_id = 1;
  std::map<int, std::shared_ptr<World>> worlds;  ///< by unique id
  std::map<int, Faults> faults;
  std::set<ncclComm*> alive;
  std::vector<std::unique_ptr<ncclComm>>
      comms;  ///< kept, so that an abort of an aborted one is noticed
  std::map<std::pair<World*, std::vector<int>>, std::shared_ptr<World>> shrunk_worlds;
  fake_nccl::Counts counts{};
};

State& state() {
  static State it;
  return it;
}

thread_local int this_rank = 0;

DType dtype_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat64:
      return DType::kFloat64;
    case ncclBfloat16:
      return DType::kBFloat16;
    case ncclFloat16:
      return DType::kFloat16;
    case ncclInt64:
      return DType::kInt64;
    case ncclUint8:
      return DType::kUInt8;
    default:
      return DType::kFloat32;
  }
}

void perform(Meeting& meeting) {
  const Operation& first = *meeting.came.begin()->second;
  const DType dtype = dtype_of(first.type);
  const std::size_t bytes = first.count * musher::size_of(dtype);
  if (first.call == Operation::kAllReduce) {
    std::vector<const void*> inputs;
    for (const auto& [rank, operation] : meeting.came) inputs.push_back(operation->send);
    std::vector<std::byte> sum(bytes);
    musher::sum_into(dtype, sum.data(), inputs, first.count);
    for (const auto& [rank, operation] : meeting.came)
      std::memcpy(operation->receive, sum.data(), bytes);
  } else if (first.call == Operation::kBroadcast) {
    const void* from = meeting.came.at(first.root)->send;
    for (const auto& [rank, operation] : meeting.came)
      std::memmove(operation->receive, from, bytes);
  } else {
    for (const auto& [to, receiver] : meeting.came) {
      for (const auto& [rank, sender] : meeting.came) {
        std::memcpy(
            static_cast<std::byte*>(receiver->receive) + static_cast<std::size_t>(rank) * bytes,
            sender->send, bytes);
      }
    }
  }
  for (const auto& [rank, operation] : meeting.came) operation->done = true;
  meeting.done = true;
  ++state().counts.operations;
}

bool may_start(const Operation& operation) {
  for (const auto& other : operation.after) {
    if (!other->done) return false;
  }
  return true;
}

/// Runs whatever can run now.
void progress() {
  for (bool moved = true; moved;) {
    moved = false;
    for (ncclComm* comm : state().alive) {
      for (auto& [number, meeting] : comm->world->meetings) {
        if (meeting.done || static_cast<int>(meeting.came.size()) < comm->world->size) continue;
        const bool ready =
            std::all_of(meeting.came.begin(), meeting.came.end(), [](const auto& came) {
              const Operation& operation = *came.second;
              return may_start(operation) && !operation.comm->aborted &&
                     !state().faults[operation.comm->first_rank].hang;
            });
        if (!ready) continue;
        perform(meeting);
        moved = true;
      }
    }
  }
}

ncclResult_t accepted(ncclComm* comm) {
  comm->polls = state().faults[comm->first_rank].polls_in_progress;
  return comm->polls > 0 ? ncclInProgress : ncclSuccess;
}

ncclResult_t issue(Operation operation, ncclComm_t comm, cudaStream_t stream) {
  std::lock_guard lock(state().mutex);
  if (comm->aborted) return ncclInvalidUsage;
  if (comm->polls > 0) return ncclInvalidUsage;  // the call before was not waited for
  operation.comm = comm;
  operation.number = comm->issued++;
  operation.after = stream->queue;
  auto shared = std::make_shared<Operation>(std::move(operation));
  stream->queue.push_back(shared);
  comm->world->meetings[shared->number].came[comm->rank] = shared;
  progress();
  return accepted(comm);
}

ncclComm* new_comm(std::shared_ptr<World> world, int rank, int first_rank) {
  auto comm = std::make_unique<ncclComm>();
  comm->world = std::move(world);
  comm->rank = rank;
  comm->first_rank = first_rank;
  ++comm->world->joined;
  ++state().counts.made;
  state().alive.insert(comm.get());
  state().comms.push_back(std::move(comm));
  return state().comms.back().get();
}

}  // namespace

namespace fake_nccl {

void reset() {
  std::lock_guard lock(state().mutex);
  state().worlds.clear();
  state().shrunk_worlds.clear();
  state().faults.clear();
  state().alive.clear();
  state().comms.clear();
  state().counts = {};
}

void this_thread_is(int rank) {
  this_rank = rank;
}

void stay_in_progress(int rank, int polls) {
  std::lock_guard lock(state().mutex);
  state().faults[rank].polls_in_progress = polls;
}
void set_async_error(int rank, ncclResult_t error) {
  std::lock_guard lock(state().mutex);
  state().faults[rank].async_error = error;
}
void never_complete(int rank) {
  std::lock_guard lock(state().mutex);
  state().faults[rank].hang = true;
}
void fail_init(int rank, ncclResult_t error) {
  std::lock_guard lock(state().mutex);
  state().faults[rank].init_error = error;
}
void fail_shrink(int rank, ncclResult_t error) {
  std::lock_guard lock(state().mutex);
  state().faults[rank].shrink_error = error;
}
void fail_events(int rank, int cuda_error) {
  std::lock_guard lock(state().mutex);
  state().faults[rank].event_error = static_cast<cudaError_t>(cuda_error);
}

void* start_producer(float* target, float value) {
  auto* stream = new CUstream_st{};
  auto running = std::make_shared<Operation>();
  running->kind = Operation::kProducer;
  stream->queue.push_back(running);
  stream->target = target;
  stream->value = value;
  return stream;
}

void finish_producer(void* stream) {
  std::lock_guard lock(state().mutex);
  auto* producer = static_cast<CUstream_st*>(stream);
  *producer->target = producer->value;
  producer->queue.front()->done = true;
  progress();
  delete producer;
}

Counts counts() {
  std::lock_guard lock(state().mutex);
  return state().counts;
}

}  // namespace fake_nccl

// NCCL

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited" : "error";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::lock_guard lock(state().mutex);
  *id = {};
  std::memcpy(id->internal, &state().next_id, sizeof(int));
  ++state().next_id;
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  std::lock_guard lock(state().mutex);
  if (config->blocking != 0) return ncclInvalidArgument;  // Musher must never block in NCCL
  if (state().faults[this_rank].init_error != ncclSuccess)
    return state().faults[this_rank].init_error;
  int key = 0;
  std::memcpy(&key, id.internal, sizeof key);
  auto& world = state().worlds[key];
  if (!world) world = std::make_shared<World>();
  world->size = size;
  *comm = new_comm(world, rank, this_rank);
  accepted(*comm);
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  std::lock_guard lock(state().mutex);
  if (comm->aborted) return ncclInvalidUsage;
  const Faults& faults = state().faults[comm->first_rank];
  *error = ncclSuccess;
  if (faults.async_error != ncclSuccess) {
    *error = faults.async_error;
  } else if (comm->world->joined < comm->world->size) {
    *error = ncclInProgress;
  } else if (comm->polls > 0) {
    --comm->polls;
    *error = ncclInProgress;
  }
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  std::lock_guard lock(state().mutex);
  if (comm->aborted) {
    ++state().counts.aborted_again;
    return ncclInvalidUsage;
  }
  comm->aborted = true;
  state().alive.erase(comm);
  ++state().counts.aborted;
  state().faults[comm->first_rank].async_error = ncclSuccess;
  return ncclSuccess;
}

ncclResult_t ncclCommShrink(ncclComm_t comm, int* excluded, int count, ncclComm_t* next,
                            ncclConfig_t* config, int flags) {
  std::lock_guard lock(state().mutex);
  if (config->blocking != 0 || flags != NCCL_SHRINK_ABORT || count == 0) return ncclInvalidArgument;
  const ncclResult_t error = state().faults[comm->first_rank].shrink_error;
  if (error != ncclSuccess) return error;
  comm->is_shrunk_away = true;
  state().faults[comm->first_rank].async_error = ncclSuccess;
  const std::vector<int> gone(excluded, excluded + count);
  auto& world = state().shrunk_worlds[{comm->world.get(), gone}];
  if (!world) world = std::make_shared<World>();
  world->size = comm->world->size - count;
  const auto before =
      std::count_if(gone.begin(), gone.end(), [&](int rank) { return rank < comm->rank; });
  *next = new_comm(world, comm->rank - static_cast<int>(before), comm->first_rank);
  ++state().counts.shrunk;
  accepted(*next);
  return accepted(comm);
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t stream) {
  Operation operation;
  operation.call = Operation::kAllReduce;
  operation.send = send, operation.receive = receive, operation.count = count,
  operation.type = type;
  return issue(operation, comm, stream);
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  Operation operation;
  operation.call = Operation::kBroadcast;
  operation.send = send, operation.receive = receive, operation.count = count,
  operation.type = type, operation.root = root;
  return issue(operation, comm, stream);
}

ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  Operation operation;
  operation.call = Operation::kAllGather;
  operation.send = send, operation.receive = receive, operation.count = count,
  operation.type = type;
  return issue(operation, comm, stream);
}

// The CUDA runtime

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "illegal address" : "error";
}
cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  std::lock_guard lock(state().mutex);
  *stream = new CUstream_st{};
  ++state().counts.streams;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard lock(state().mutex);
  delete stream;
  --state().counts.streams;
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  std::lock_guard lock(state().mutex);
  stream->queue.insert(stream->queue.end(), event->before.begin(), event->before.end());
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  std::lock_guard lock(state().mutex);
  *event = new CUevent_st{};
  ++state().counts.events;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  std::lock_guard lock(state().mutex);
  delete event;
  --state().counts.events;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard lock(state().mutex);
  event->before = stream == nullptr ? Operations{} : stream->queue;
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::lock_guard lock(state().mutex);
  if (state().faults[this_rank].event_error != cudaSuccess)
    return state().faults[this_rank].event_error;
  progress();
  const bool done = std::all_of(event->before.begin(), event->before.end(),
                                [](const auto& before) { return before->done; });
  return done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(std::max<std::size_t>(bytes, 1));
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

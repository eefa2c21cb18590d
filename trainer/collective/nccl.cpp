#include "trainer/collective/nccl.h"

#include <atomic>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include "common/error.h"
#include "trainer/collective/nccl_communicator.h"

namespace musher {
namespace {

void check_cuda(cudaError_t result, std::string_view what) {
  if (result == cudaSuccess) return;
  throw Error(ErrorCode::kInternal, fmt::format("{}: CUDA: {}", what, cudaGetErrorString(result)));
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kFloat16:
      return ncclFloat16;
    case DType::kInt64:
      return ncclInt64;
    case DType::kUInt8:
      return ncclUint8;
  }
  return ncclUint8;
}

/// Marks a place in a stream.
class Event {
 public:
  explicit Event(cudaStream_t stream) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event");
    const cudaError_t recorded = cudaEventRecord(event_, stream);
    if (recorded == cudaSuccess) return;
    cudaEventDestroy(event_);
    check_cuda(recorded, "event");
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  cudaEvent_t get() const { return event_; }
  bool passed() const {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) return false;
    check_cuda(state, "operation");
    return true;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// One generation: the communicator, its stream, and the first failure. Shared with the works under
/// way.
struct Generation {
  Generation(std::unique_ptr<Collective> ranks, const NcclOptions& how, NcclCommunicator made,
             std::uint64_t number)
      : bootstrap(std::move(ranks)), options(how), communicator(std::move(made)), identity(number) {
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  }
  ~Generation() {
    communicator.abort();  // before the stream, which a kernel under way would keep
    cudaStreamDestroy(stream);
  }

  void fail(const std::string& why) {
    {
      std::lock_guard lock(mutex);
      if (failed) return;
      reason = why;
      failed = true;
    }
    bootstrap->abort();  // by which the other ranks learn of it
  }

  std::optional<std::string> failure() {
    if (failed) {
      std::lock_guard lock(mutex);
      return reason;
    }
    return bootstrap->failure();
  }

  /// What a wait on this rank's own thread watches.
  Watch watch() {
    return [this] {
      if (auto news = failure()) return news;
      return communicator.trouble();
    };
  }

  /// Runs `body`; whatever it throws is the generation's end, on all ranks.
  template <typename Body>
  void run(Body&& body) {
    try {
      body();
    } catch (const std::exception& error) {
      fail(error.what());
      throw;
    }
  }

  std::unique_ptr<Collective> bootstrap;
  NcclOptions options;
  NcclCommunicator communicator;
  std::uint64_t identity;  ///< the same on all its ranks, never 0
  cudaStream_t stream = nullptr;
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::string reason;
};

class NcclWork final : public Work {
 public:
  /// `done` is null where the operation could not be issued; the generation then has failed.
  NcclWork(std::shared_ptr<Generation> generation, std::unique_ptr<Event> done)
      : generation_(std::move(generation)), done_(std::move(done)) {}

  void wait(Deadline deadline) override {
    if (!done_) throw PeerFailure(generation_->failure().value_or("the collective has failed"));
    generation_->run([&] {
      poll_until([&] { return done_->passed(); }, generation_->watch(), "all-reduce", deadline);
    });
  }

 private:
  std::shared_ptr<Generation> generation_;
  std::unique_ptr<Event> done_;
};

ncclUniqueId shared_id(Collective& bootstrap, Deadline deadline) {
  struct {
    ncclUniqueId id;
    std::uint8_t valid;
  } message{};
  if (bootstrap.rank() == 0) message.valid = ncclGetUniqueId(&message.id) == ncclSuccess ? 1 : 0;
  bootstrap.broadcast({&message, sizeof message, DType::kUInt8}, 0, deadline);
  if (message.valid == 0)
    throw Error(ErrorCode::kInternal,
                "NCCL can't make an id: it finds no network interface to use");
  return message.id;
}

/// A new communicator among all ranks of the bootstrap.
NcclCommunicator initialised(Collective& bootstrap, int device, Deadline deadline) {
  const ncclUniqueId id = shared_id(bootstrap, deadline);
  NcclCommunicator made(device, id, bootstrap.size(), bootstrap.rank());
  made.settle(
      ncclInProgress, [&] { return bootstrap.failure(); }, "initialisation", deadline);
  return made;
}

/// Each rank's value, in order.
template <typename Value>
std::vector<Value> gathered(Collective& bootstrap, Value own, Deadline deadline) {
  std::vector<Value> all(static_cast<std::size_t>(bootstrap.size()));
  bootstrap.all_gather({&own, sizeof own, DType::kUInt8},
                       {all.data(), all.size() * sizeof own, DType::kUInt8}, deadline);
  return all;
}

/// Where a rank comes from. Ranks can shrink a communicator only if all of them still hold the same
/// one.
struct Origin {
  std::uint64_t generation = 0;  ///< 0: none, or it has been tried
  std::int64_t rank = 0;
};

/// The ranks of the old communicator, of `size`, that are no longer there. Empty where the ranks do
/// not have it in common.
std::vector<int> missing_ranks(std::span<const Origin> present, int size) {
  std::vector<int> gone;
  std::size_t next = 0;
  for (int rank = 0; rank < size; ++rank) {
    if (next < present.size() && present[next].rank == rank) {
      ++next;
    } else {
      gone.push_back(rank);
    }
  }
  for (const Origin& origin : present) {
    if (origin.generation == 0 || origin.generation != present[0].generation) return {};
  }
  return gone;
}

/// NCCL's own shrink of `old`, which may be null. Nothing, on all ranks, where it can't be: when
/// they do not all hold the same, or when someone gave up and no one died, which leaves NCCL
/// nothing to exclude.
std::optional<NcclCommunicator> shrunken(Generation* old, Collective& bootstrap,
                                         Deadline deadline) {
  Origin own;
  if (old != nullptr) own = {old->identity, old->bootstrap->rank()};
  const auto present = gathered(bootstrap, own, deadline);
  const std::vector<int> gone = missing_ranks(present, old == nullptr ? 0 : old->bootstrap->size());
  if (gone.empty()) return std::nullopt;
  return old->communicator.shrunken(
      gone, [&] { return bootstrap.failure(); }, deadline);
}

/// A generation among the ranks of `bootstrap`, or, when some of them die meanwhile, among the
/// rest; made from `old` where that can be, which is used up. Every rank takes the same steps on a
/// bootstrap, wherever it comes from. Where one fails it aborts the bootstrap, so that the others
/// do not wait for it in NCCL, and all try again on the next bootstrap.
std::shared_ptr<Generation> connect(std::unique_ptr<Collective> bootstrap,
                                    const NcclOptions& options, Generation* old,
                                    Deadline deadline) {
  check_cuda(cudaSetDevice(options.device), fmt::format("device {}", options.device));
  for (int tries = 2; true;) {
    try {
      std::optional<NcclCommunicator> communicator = shrunken(old, *bootstrap, deadline);
      if (old != nullptr) old->communicator.abort();
      if (!communicator) communicator.emplace(initialised(*bootstrap, options.device, deadline));
      // Rank 0's clock names the generation. The exchange is also where all learn that all have
      // their communicator.
      const auto now =
          static_cast<std::uint64_t>(Deadline::Clock::now().time_since_epoch().count());
      const std::uint64_t identity = gathered(*bootstrap, now, deadline).front();
      return std::make_shared<Generation>(std::move(bootstrap), options, std::move(*communicator),
                                          identity);
    } catch (const PeerFailure&) {
      if (old != nullptr) old->communicator.abort();
      old = nullptr;
      bootstrap->abort();
      const int before = bootstrap->size();
      bootstrap = bootstrap->shrink(deadline);
      if (bootstrap->size() == before && --tries == 0)
        throw;  // no one died, so another try would end alike
    }
  }
}

class NcclCollective final : public Collective {
 public:
  explicit NcclCollective(std::shared_ptr<Generation> generation)
      : generation_(std::move(generation)) {}

  int rank() const override { return generation_->bootstrap->rank(); }
  int size() const override { return generation_->bootstrap->size(); }

  std::shared_ptr<void> allocate(std::size_t bytes, Deadline) override {
    const int device = generation_->options.device;
    void* memory = nullptr;
    check_cuda(cudaSetDevice(device), "device");
    const cudaError_t result = cudaMalloc(&memory, bytes);
    if (result == cudaErrorMemoryAllocation) {
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("no {} bytes on CUDA device {}", bytes, device));
    }
    check_cuda(result, "allocation");
    std::shared_ptr<void> owned(memory, [](void* data) { cudaFree(data); });
    check_cuda(cudaMemset(memory, 0, bytes), "allocation");
    return owned;
  }

  std::unique_ptr<Work> all_reduce(Buffer buffer) override {
    try {
      return std::make_unique<NcclWork>(
          generation_, issue(buffer, "all-reduce", [&](ncclComm_t comm, cudaStream_t stream) {
            return ncclAllReduce(buffer.data, buffer.data, buffer.count, nccl_type(buffer.dtype),
                                 ncclSum, comm, stream);
          }));
    } catch (const PeerFailure&) {
      return std::make_unique<NcclWork>(generation_, nullptr);
    }
  }

  void broadcast(Buffer buffer, int root, Deadline deadline) override {
    run_now(buffer, "broadcast", deadline, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclBroadcast(buffer.data, buffer.data, buffer.count, nccl_type(buffer.dtype), root,
                           comm, stream);
    });
  }

  void all_gather(Buffer send, Buffer receive, Deadline deadline) override {
    run_now(send, "all-gather", deadline, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllGather(send.data, receive.data, send.count, nccl_type(send.dtype), comm,
                           stream);
    });
  }

  std::string transport() const override { return "NCCL"; }
  Collective& host() override { return *generation_->bootstrap; }
  std::optional<std::string> failure() override { return generation_->failure(); }
  void abort() override { generation_->fail(fmt::format("rank {} of {} aborted", rank(), size())); }

  std::unique_ptr<Collective> shrink(Deadline deadline) override;
  std::unique_ptr<Collective> grow(Newcomer* newcomer, Deadline deadline) override;

 private:
  /// Queues an operation behind what produced the buffer. The event marks its end.
  template <typename Call>
  std::unique_ptr<Event> issue(const Buffer& buffer, std::string_view what, Call&& call) {
    std::unique_ptr<Event> done;
    generation_->run([&] {
      if (auto known = generation_->failure()) throw PeerFailure(*known);
      check_cuda(cudaSetDevice(generation_->options.device), what);
      const Event produced(static_cast<cudaStream_t>(buffer.producer_stream));
      check_cuda(cudaStreamWaitEvent(generation_->stream, produced.get(), 0), what);
      NcclCommunicator& communicator = generation_->communicator;
      communicator.settle(call(communicator.get(), generation_->stream), generation_->watch(), what,
                          Deadline::after(generation_->options.issue_timeout));
      done = std::make_unique<Event>(generation_->stream);
    });
    return done;
  }

  template <typename Call>
  void run_now(const Buffer& buffer, std::string_view what, Deadline deadline, Call&& call) {
    const auto done = issue(buffer, what, call);
    generation_->run(
        [&] { poll_until([&] { return done->passed(); }, generation_->watch(), what, deadline); });
  }

  std::shared_ptr<Generation> generation_;
};

std::unique_ptr<Collective> NcclCollective::shrink(Deadline deadline) {
  abort();
  auto survivors = generation_->bootstrap->shrink(deadline);
  return std::make_unique<NcclCollective>(
      connect(std::move(survivors), generation_->options, generation_.get(), deadline));
}

/// NCCL 2.28 has no way to add a rank, so all connect anew.
std::unique_ptr<Collective> NcclCollective::grow(Newcomer* newcomer, Deadline deadline) {
  std::unique_ptr<Collective> bigger;
  generation_->run([&] { bigger = generation_->bootstrap->grow(newcomer, deadline); });
  return std::make_unique<NcclCollective>(
      connect(std::move(bigger), generation_->options, nullptr, deadline));
}

}  // namespace

std::unique_ptr<Collective> make_nccl_collective(std::unique_ptr<Collective> bootstrap,
                                                 const NcclOptions& options, Deadline deadline) {
  return std::make_unique<NcclCollective>(
      connect(std::move(bootstrap), options, nullptr, deadline));
}

extern "C" Collective* musher_make_nccl_collective(Collective* bootstrap,
                                                   const NcclOptions* options,
                                                   const Deadline* deadline) {
  return make_nccl_collective(std::unique_ptr<Collective>(bootstrap), *options, *deadline)
      .release();
}

}  // namespace musher

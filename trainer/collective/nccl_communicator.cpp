#include "trainer/collective/nccl_communicator.h"

#include <chrono>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "trainer/collective/collective.h"

namespace musher {
namespace {

constexpr std::chrono::seconds kLeaveAbortAfter{10};

ncclConfig_t non_blocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

std::string text_of(ncclResult_t result) {
  return fmt::format("NCCL: {}", ncclGetErrorString(result));
}

}  // namespace

void poll_until(const std::function<bool()>& done, const Watch& watch, std::string_view what,
                Deadline deadline) {
  constexpr int kEager = 200;
  for (int polls = 0; !done(); ++polls) {
    if (polls % 16 == 0) {
      if (auto news = watch()) throw PeerFailure(fmt::format("{}: {}", what, *news));
      if (deadline.expired())
        throw PeerFailure(fmt::format("{} did not end by its deadline", what));
    }
    if (polls < kEager) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
}

NcclCommunicator::NcclCommunicator(int device, const ncclUniqueId& id, int size, int rank)
    : device_(device) {
  ncclConfig_t config = non_blocking();
  const ncclResult_t result = ncclCommInitRankConfig(&comm_, size, id, rank, &config);
  if (result != ncclSuccess && result != ncclInProgress) {
    abort();
    throw PeerFailure(text_of(result));
  }
}

NcclCommunicator::NcclCommunicator(NcclCommunicator&& other) noexcept
    : device_(other.device_), comm_(std::exchange(other.comm_, nullptr)) {}

void NcclCommunicator::settle(ncclResult_t called, const Watch& watch, std::string_view what,
                              Deadline deadline) {
  if (called == ncclSuccess) return;
  ncclResult_t state = called;
  poll_until(
      [&] {
        if (state == ncclInProgress && ncclCommGetAsyncError(comm_, &state) != ncclSuccess)
          state = ncclInternalError;
        return state != ncclInProgress;
      },
      watch, what, deadline);
  if (state != ncclSuccess) throw PeerFailure(fmt::format("{}: {}", what, text_of(state)));
}

std::optional<std::string> NcclCommunicator::trouble() const {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  if (asked != ncclSuccess) return text_of(asked);
  if (state == ncclSuccess || state == ncclInProgress) return std::nullopt;
  return text_of(state);
}

NcclCommunicator NcclCommunicator::shrunken(std::span<const int> excluded, const Watch& watch,
                                            Deadline deadline) {
  std::vector<int> ranks(excluded.begin(), excluded.end());
  ncclConfig_t config = non_blocking();
  NcclCommunicator next(device_, nullptr);
  const ncclResult_t called = ncclCommShrink(comm_, ranks.data(), static_cast<int>(ranks.size()),
                                             &next.comm_, &config, NCCL_SHRINK_ABORT);
  settle(called, watch, "shrink", deadline);  // the parent first: until then there may be no child
  if (next.comm_ == nullptr) throw PeerFailure("shrink: NCCL made no communicator");
  next.settle(ncclInProgress, watch, "shrink", deadline);
  return next;
}

void NcclCommunicator::abort() {
  ncclComm_t comm = std::exchange(comm_, nullptr);
  if (comm == nullptr) return;
  std::packaged_task<void()> task([comm, device = device_] {
    cudaSetDevice(device);
    ncclCommAbort(comm);
  });
  auto ended = task.get_future();
  std::thread thread(std::move(task));
  if (ended.wait_for(kLeaveAbortAfter) == std::future_status::ready) {
    thread.join();
  } else {
    thread.detach();
  }
}

}  // namespace musher

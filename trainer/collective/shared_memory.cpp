#include "trainer/collective/shared_memory.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/error.h"
#include "trainer/collective/summation.h"

namespace musher {
namespace {

enum : std::uint32_t { kAllReduce = 1, kShare = 2 };

constexpr std::size_t kLine = 64;
/// Up to here every rank adds everything itself, which needs one step instead of three.
constexpr std::size_t kSmallBytes = 32 << 10;
/// Pieces that stay in the second-level cache between the passes over them.
constexpr std::size_t kPieceBytes = 512 << 10;
/// Of a slice; the same for buffers that are reduced in place.
constexpr std::size_t kChunkBytes = 256 << 10;
constexpr auto kSpin = std::chrono::microseconds(20);
constexpr long kLookEveryNs = 5'000'000;

/// False when nothing happened for a while, or somebody wants the waiter to look up.
bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  const timespec timeout{0, kLookEveryNs};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &timeout, nullptr, 0);
  return word.load(std::memory_order_acquire) != seen;
}

// The kernel lets the word be in read-only memory for both.
void futex_wake_all(const std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Elements before the slice of `rank`. Slices begin at cache lines.
std::size_t slice_begin(std::size_t rank, std::size_t ranks, std::size_t count,
                        std::size_t element) {
  const std::size_t per_line = kLine / element;
  const std::size_t lines = (count + per_line - 1) / per_line;
  return std::min(count, lines * rank / ranks * per_line);
}

}  // namespace

/// What a rank calls. The ranks compare it when they meet, so that a difference is an error and not
/// a wrong sum.
struct SharedMemoryGroup::Call {
  std::uint32_t operation;
  std::uint32_t dtype;
  std::uint64_t count;
  std::uint64_t segment;  ///< its identity; 0 where the buffer lies in none
  std::uint64_t offset;

  bool same_operation(const Call& other) const {
    return operation == other.operation && dtype == other.dtype && count == other.count;
  }
  bool same_place(const Call& other) const {
    return segment == other.segment && offset == other.offset;
  }
};

/// The head of each rank's control segment; the two halves of its staging area follow. Its owner
/// alone writes it.
struct SharedMemoryGroup::Control {
  alignas(kLine) std::atomic<std::uint32_t> step;
  alignas(kLine) std::atomic<std::uint32_t> aborted;
  alignas(
      kLine) Call calls[2];  ///< in turn: a rank may be one call ahead of one that still compares
};

std::size_t SharedMemoryGroup::control_bytes() {
  return sizeof(Control) + 2 * kPieceBytes;
}

SharedMemoryGroup::SharedMemoryGroup(std::vector<Member> members, std::size_t own,
                                     std::shared_ptr<SharedSegment> control)
    : members_(std::move(members)),
      own_(own),
      control_(std::move(control)),
      head_(new (control_->own()) Control{}),
      may_spin_(std::thread::hardware_concurrency() >= members_.size()) {
  for (const Member& member : members_) {
    heads_.push_back(reinterpret_cast<const Control*>(control_->part_of(member.pid)));
    pidfds_.push_back(static_cast<int>(syscall(SYS_pidfd_open, member.pid, 0)));
    if (pidfds_.back() < 0) {
      for (int pidfd : pidfds_) close(pidfd);
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("rank {} can't be watched: no pidfd", member.rank));
    }
  }
}

SharedMemoryGroup::~SharedMemoryGroup() {
  for (int pidfd : pidfds_) close(pidfd);
}

void SharedMemoryGroup::adopt(const std::shared_ptr<SharedSegment>& segment) {
  for (const Member& member : members_) {
    if (segment->part_of(member.pid) == nullptr) return;
  }
  std::lock_guard lock(mutex_);
  std::erase_if(adopted_, [](const auto& old) { return old.expired(); });
  adopted_.push_back(segment);
}

std::vector<std::shared_ptr<SharedSegment>> SharedMemoryGroup::adopted() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<SharedSegment>> alive;
  for (const auto& segment : adopted_) {
    if (auto owned = segment.lock()) alive.push_back(std::move(owned));
  }
  return alive;
}

void SharedMemoryGroup::all_reduce(const Buffer& buffer) {
  const Call call = describe(buffer, kAllReduce);
  auto* data = static_cast<std::byte*>(buffer.data);
  if (buffer.bytes() <= kSmallBytes) {
    if (buffer.count > 0) std::memcpy(staging(), data, buffer.bytes());
    arrive(call);
    const Parts parts = staging_parts();
    sum_into(buffer.dtype, data, std::vector<const void*>(parts.begin(), parts.end()),
             buffer.count);
    return next_staging();
  }
  arrive(call);
  if (const Parts parts = agreed_parts(call); !parts.empty()) {
    reduce_parts(parts, data, data, buffer.count, buffer.dtype);
    signal();  // read all; the others may change theirs
    return wait_for_all(step_);
  }
  const std::size_t element = size_of(buffer.dtype);
  const std::size_t piece = kPieceBytes / element;
  for (std::size_t begin = 0; begin < buffer.count; begin += piece) {
    const std::size_t count = std::min(piece, buffer.count - begin);
    std::memcpy(staging(), data + begin * element, count * element);
    signal();
    wait_for_all(step_);
    reduce_parts(staging_parts(), staging(), data + begin * element, count, buffer.dtype);
    // No one is waited for here: this half is written again two pieces on, after a meeting to which
    // all come done with it.
    next_staging();
  }
}

void SharedMemoryGroup::share(const Buffer& buffer) {
  const Call call = describe(buffer, kShare);
  auto* data = static_cast<std::byte*>(buffer.data);
  arrive(call);
  if (const Parts parts = agreed_parts(call); !parts.empty()) {
    if (own_ != 0) std::memcpy(data, parts[0], buffer.bytes());
    signal();
    return wait_for_all(step_);
  }
  for (std::size_t begin = 0; begin < buffer.bytes(); begin += kPieceBytes) {
    const std::size_t bytes = std::min(kPieceBytes, buffer.bytes() - begin);
    if (own_ == 0) std::memcpy(staging(), data + begin, bytes);
    signal();
    wait_for_all(step_);
    if (own_ != 0) std::memcpy(data + begin, staging_parts()[0], bytes);
    next_staging();
  }
}

/// Each rank sums its slice of `parts` into `shared`, its own part, and collects all slices in
/// `destination`, which may be `shared`. In chunks, so that one is copied while it is still in a
/// cache. Ends one step after the last slice is complete.
void SharedMemoryGroup::reduce_parts(const Parts& parts, std::byte* shared, std::byte* destination,
                                     std::size_t count, DType dtype) {
  const std::size_t element = size_of(dtype);
  const std::size_t ranks = members_.size();
  const std::size_t chunk = kChunkBytes / element;
  std::size_t longest = 0;
  for (std::size_t i = 0; i < ranks; ++i) {
    longest = std::max(
        longest, slice_begin(i + 1, ranks, count, element) - slice_begin(i, ranks, count, element));
  }
  const std::size_t chunks = (longest + chunk - 1) / chunk;
  std::vector<const void*> inputs(ranks);
  const auto range = [&](std::size_t member, std::size_t k) {
    const std::size_t begin = slice_begin(member, ranks, count, element);
    const std::size_t end = slice_begin(member + 1, ranks, count, element);
    const std::size_t from = std::min(begin + k * chunk, end);
    return std::pair(from * element, std::min(chunk, end - from));
  };
  for (std::size_t k = 0; k <= chunks; ++k) {
    const std::uint32_t before = step_;
    if (k < chunks) {
      const auto [offset, length] = range(own_, k);
      for (std::size_t i = 0; i < ranks; ++i) inputs[i] = parts[i] + offset;
      sum_into(dtype, shared + offset, inputs, length);
      signal();
      if (destination != shared)
        std::memcpy(destination + offset, shared + offset, length * element);
    }
    if (k == 0) continue;
    wait_for_all(before);
    for (std::size_t i = 1; i < ranks; ++i) {
      const std::size_t member = (own_ + i) % ranks;
      const auto [offset, length] = range(member, k - 1);
      std::memcpy(destination + offset, parts[member] + offset, length * element);
    }
  }
}

SharedMemoryGroup::Call SharedMemoryGroup::describe(const Buffer& buffer,
                                                    std::uint32_t operation) const {
  Call call{operation, static_cast<std::uint32_t>(buffer.dtype), buffer.count, 0, 0};
  for (const auto& segment : adopted()) {
    if (!segment->contains(buffer.data, buffer.bytes())) continue;
    call.segment = segment->identity();
    call.offset = static_cast<std::uint64_t>(static_cast<std::byte*>(buffer.data) - segment->own());
  }
  return call;
}

/// Where the buffer lies at every rank, if it lies at the same place of the same segment at all.
/// Else nothing: all ranks see the same calls, so all then take the staging area.
SharedMemoryGroup::Parts SharedMemoryGroup::agreed_parts(const Call& call) const {
  if (call.segment == 0) return {};
  for (const Control* head : heads_) {
    if (!call.same_place(head->calls[(calls_ - 1) % 2])) return {};
  }
  Parts parts;
  for (const auto& segment : adopted()) {
    if (segment->identity() != call.segment) continue;
    for (const Member& member : members_)
      parts.push_back(segment->part_of(member.pid) + call.offset);
  }
  return parts;
}

/// The ranks meet, each with its call.
void SharedMemoryGroup::arrive(const Call& call) {
  const std::size_t turn = calls_++ % 2;
  head_->calls[turn] = call;
  signal();
  wait_for_all(step_);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const Call& other = heads_[i]->calls[turn];
    if (call.same_operation(other)) continue;
    throw Error(ErrorCode::kInternal,
                fmt::format("rank {} calls for {} elements of type {}, rank {} for {} of type {}: "
                            "all ranks must call the same",
                            members_[own_].rank, call.count, call.dtype, members_[i].rank,
                            other.count, other.dtype));
  }
}

std::byte* SharedMemoryGroup::staging() const {
  return control_->own() + sizeof(Control) + half_ * kPieceBytes;
}

SharedMemoryGroup::Parts SharedMemoryGroup::staging_parts() const {
  Parts parts;
  for (const Control* head : heads_) {
    parts.push_back(reinterpret_cast<const std::byte*>(head) + sizeof(Control) +
                    half_ * kPieceBytes);
  }
  return parts;
}

void SharedMemoryGroup::signal() {
  head_->step.store(++step_, std::memory_order_release);
  futex_wake_all(head_->step);
}

bool SharedMemoryGroup::reached(std::size_t member, std::uint32_t step) const {
  // The difference, so that the counter may wrap.
  return static_cast<std::int32_t>(heads_[member]->step.load(std::memory_order_acquire) - step) >=
         0;
}

void SharedMemoryGroup::wait_for_all(std::uint32_t step) const {
  for (std::size_t member = 0; member < members_.size(); ++member) {
    if (reached(member, step)) continue;
    if (may_spin_) {
      const auto until = std::chrono::steady_clock::now() + kSpin;
      while (!reached(member, step) && std::chrono::steady_clock::now() < until) pause_briefly();
    }
    while (true) {
      const std::uint32_t seen = heads_[member]->step.load(std::memory_order_acquire);
      if (reached(member, step)) break;
      if (!futex_wait(heads_[member]->step, seen)) look_for_trouble(step);
    }
  }
}

/// Throws if a rank that has not reached the step will not. What a rank did before it went still
/// counts.
void SharedMemoryGroup::look_for_trouble(std::uint32_t step) const {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (is_dead(i) && !reached(i, step))
      throw PeerFailure(fmt::format("rank {} died", members_[i].rank));
  }
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (heads_[i]->aborted.load() != 0 && (i == own_ || !reached(i, step))) {
      throw PeerFailure(fmt::format("rank {} gave up", members_[i].rank));
    }
  }
}

bool SharedMemoryGroup::is_dead(std::size_t member) const {
  pollfd watched{pidfds_[member], POLLIN, 0};
  return member != own_ && poll(&watched, 1, 0) == 1;
}

void SharedMemoryGroup::abort() {
  head_->aborted.store(1);
  for (const Control* head : heads_) futex_wake_all(head->step);
}

std::optional<std::string> SharedMemoryGroup::failure() const {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (is_dead(i)) return fmt::format("rank {} died", members_[i].rank);
  }
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (heads_[i]->aborted.load() != 0) return fmt::format("rank {} gave up", members_[i].rank);
  }
  return std::nullopt;
}

}  // namespace musher

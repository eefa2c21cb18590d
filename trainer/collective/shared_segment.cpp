#include "trainer/collective/shared_segment.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/random.h"

namespace musher {
namespace {

constexpr std::size_t kPage = 4096;

std::int64_t inode_of(int descriptor) {
  struct stat facts {};
  return fstat(descriptor, &facts) == 0 ? static_cast<std::int64_t>(facts.st_ino) : -1;
}

}  // namespace

SharedSegment::SharedSegment(std::size_t bytes)
    : bytes_((std::max<std::size_t>(bytes, 1) + kPage - 1) / kPage * kPage) {
  descriptor_ = memfd_create("musher-collective", MFD_CLOEXEC);
  void* mapped = MAP_FAILED;
  // fallocate reserves the pages: a lack of memory is an error here, and not a SIGBUS in the middle
  // of a step.
  if (descriptor_ >= 0 && fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes_)) == 0) {
    mapped =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor_, 0);
  }
  if (mapped == MAP_FAILED) {
    const int error = errno;
    if (descriptor_ >= 0) close(descriptor_);
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("{} bytes of memory to share between ranks: {}", bytes_, std::strerror(error)));
  }
  own_ = static_cast<std::byte*>(mapped);
}

SharedSegment::~SharedSegment() {
  for (const Part& part : parts_) {
    if (part.data != own_) munmap(const_cast<std::byte*>(part.data), bytes_);
  }
  munmap(own_, bytes_);
  close(descriptor_);
}

SharedSegment::Handle SharedSegment::handle() const {
  return {getpid(), descriptor_, inode_of(descriptor_)};
}

void SharedSegment::attach(std::span<const Handle> handles) {
  for (const Handle& handle : handles) {
    const auto pid = static_cast<pid_t>(handle.pid);
    if (pid == getpid()) {
      parts_.push_back({pid, own_});
      continue;
    }
    const std::string path = fmt::format("/proc/{}/fd/{}", handle.pid, handle.descriptor);
    const int peer = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    void* mapped = MAP_FAILED;
    // The inode tells a stranger's file apart, where ranks do not see the same process numbers.
    if (peer >= 0 && inode_of(peer) == handle.inode) {
      mapped = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED | MAP_POPULATE, peer, 0);
    }
    if (peer >= 0) close(peer);
    if (mapped == MAP_FAILED) {
      throw Error(ErrorCode::kUnavailable,
                  fmt::format("the memory of process {} can't be mapped", handle.pid));
    }
    parts_.push_back({pid, static_cast<const std::byte*>(mapped)});
  }
  for (const Handle& handle : handles) {
    identity_ = mix64(identity_ ^ mix64(static_cast<std::uint64_t>(handle.pid))) ^
                mix64(static_cast<std::uint64_t>(handle.inode));
  }
}

const std::byte* SharedSegment::part_of(pid_t pid) const {
  for (const Part& part : parts_) {
    if (part.pid == pid) return part.data;
  }
  return nullptr;
}

bool SharedSegment::contains(const void* data, std::size_t bytes) const {
  const auto begin = reinterpret_cast<std::uintptr_t>(own_);
  const auto at = reinterpret_cast<std::uintptr_t>(data);
  return at >= begin && at - begin <= bytes_ && bytes <= bytes_ - (at - begin);
}

}  // namespace musher

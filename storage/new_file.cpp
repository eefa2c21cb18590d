#include "storage/new_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace musher {
namespace {

constexpr std::size_t kAlignment = 4096;    // of memory, offset and length: every disk's block
constexpr std::size_t kBuffer = 4UL << 20;  // a write that is large enough for any disk

[[noreturn]] void fail() {
  throw std::system_error(errno, std::generic_category());
}

}  // namespace

NewFile::NewFile(const std::string& path)
    : descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail();
}

NewFile::~NewFile() {
  close(descriptor_);
}

void NewFile::write(std::span<const std::byte> bytes) {
  if (!buffer_) {
    buffer_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, kBuffer)));
    if (!buffer_) throw std::bad_alloc();
  }
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), kBuffer - used_);
    std::memcpy(buffer_.get() + used_, bytes.data(), count);
    used_ += count;
    bytes = bytes.subspan(count);
    if (used_ < kBuffer) return;
    set_direct(true);
    flush();
  }
}

void NewFile::sync() {
  set_direct(false);  // an end that is no whole block
  flush();
  if (fsync(descriptor_) != 0) fail();
}

void NewFile::flush() {
  for (std::size_t done = 0; done < used_;) {
    const ssize_t count = ::write(descriptor_, buffer_.get() + done, used_ - done);
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
      // A disk that fills took a part: the next write says so, if it is one that may be of any
      // length.
      if (done < used_) set_direct(false);
    } else if (errno == EINVAL && direct_) {
      set_direct(false);  // a file system that wants larger blocks
    } else if (errno != EINTR) {
      fail();
    }
  }
  used_ = 0;
}

/// Stays without where the file system has no O_DIRECT, as tmpfs.
void NewFile::set_direct(bool direct) {
  if (direct == direct_) return;
  const int flags = fcntl(descriptor_, F_GETFL);
  const int wanted = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
  direct_ = fcntl(descriptor_, F_SETFL, wanted) == 0 && direct;
}

}  // namespace musher

#include "storage/cache_space.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace musher {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kDiskBlock = 4096;
/// Left free on the disk for others.
constexpr std::uint64_t kLeftFree = 64 << 20;
/// Who removes removes a little more, so that the next few need not.
constexpr std::uint64_t kSlackShare = 20;
/// Counting a million pieces takes a few seconds.
constexpr auto kLockLimit = std::chrono::seconds(20);

[[noreturn]] void fail(const std::string& path) {
  throw std::system_error(errno, std::generic_category(), path);
}

struct Piece {
  std::int64_t used = 0;  // nanoseconds
  std::uint64_t bytes = 0;
  fs::path path;
};

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::vector<Piece> pieces_in(const fs::path& folder) {
  std::vector<Piece> pieces;
  std::error_code gone;
  for (const auto& shelf : fs::directory_iterator(folder, gone)) {
    if (shelf.path().filename().string().size() != 2) continue;
    for (const auto& entry : fs::directory_iterator(shelf.path(), gone)) {
      struct stat info {};
      if (::stat(entry.path().c_str(), &info) != 0) continue;
      pieces.push_back({nanoseconds(info.st_mtim),
                        CacheSpace::taken(static_cast<std::uint64_t>(info.st_size)), entry.path()});
    }
  }
  return pieces;
}

}  // namespace

OpenFile::~OpenFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

/// folder/lock held, and folder/usage open.
class CacheSpace::Locked {
 public:
  explicit Locked(const std::string& folder)
      : lock_(::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
        usage_(::open((folder + "/usage").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (!lock_ || !usage_) fail(folder);
    const auto end = std::chrono::steady_clock::now() + kLockLimit;
    // flock() itself has no deadline.
    for (auto pause = std::chrono::microseconds(100); ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0;
         pause = std::min<std::chrono::microseconds>(2 * pause, std::chrono::milliseconds(20))) {
      if (errno != EWOULDBLOCK && errno != EINTR) fail(folder + "/lock");
      if (std::chrono::steady_clock::now() > end) return;
      std::this_thread::sleep_for(pause);
    }
    held_ = true;
  }

  bool held() const { return held_; }
  int usage() const { return usage_.get(); }

 private:
  OpenFile lock_;
  OpenFile usage_;
  bool held_ = false;
};

std::uint64_t CacheSpace::taken(std::uint64_t bytes) {
  return (bytes + kDiskBlock - 1) / kDiskBlock * kDiskBlock;
}

/// The limit where there is none yet or it can't be read: all is then counted anew.
std::uint64_t CacheSpace::read_usage(const Locked& lock) const {
  char text[32] = {};
  const ssize_t got = ::pread(lock.usage(), text, sizeof(text) - 1, 0);
  char* end = text;
  const std::uint64_t usage = got > 0 ? std::strtoull(text, &end, 10) : 0;
  return end == text || *end != '\n' ? limit_ : usage;
}

void CacheSpace::write_usage(const Locked& lock, std::uint64_t bytes) const {
  // Always as long, so that no cut can leave another number.
  const std::string text = fmt::format("{:020}\n", bytes);
  if (::pwrite(lock.usage(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    fail(folder_ + "/usage");
  }
}

/// What living processes have reserved; what dead ones left is removed.
std::uint64_t CacheSpace::live_partials() const {
  std::uint64_t bytes = 0;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(folder_ + "/partial", gone)) {
    const OpenFile file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) continue;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      ::unlink(entry.path().c_str());
    } else {
      bytes += std::strtoull(entry.path().filename().c_str(), nullptr, 10);
    }
  }
  return bytes;
}

/// Counts what is there, and removes pieces until `wanted` more fit. Returns what is left.
std::uint64_t CacheSpace::evict(std::uint64_t wanted) const {
  std::uint64_t usage = live_partials();
  std::vector<Piece> pieces = pieces_in(folder_);
  for (const Piece& piece : pieces) usage += piece.bytes;
  if (usage + wanted <= limit_) return usage;
  const std::uint64_t slack = limit_ / kSlackShare;
  const std::uint64_t goal = limit_ - wanted - std::min(slack, limit_ - wanted);
  std::ranges::sort(pieces, {}, &Piece::used);
  for (const Piece& piece : pieces) {
    if (usage <= goal) break;
    // Whoever reads it has it open, and reads on.
    if (::unlink(piece.path.c_str()) == 0 || errno == ENOENT) usage -= piece.bytes;
  }
  return usage;
}

void CacheSpace::check_free(std::uint64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(folder_.c_str(), &disk) != 0) fail(folder_);
  if (std::uint64_t{disk.f_bavail} * disk.f_frsize >= bytes + kLeftFree) return;
  errno = ENOSPC;
  fail(folder_);
}

CacheSpace::Partial CacheSpace::reserve(std::uint64_t bytes) {
  const std::uint64_t wanted = taken(bytes);
  if (wanted > limit_) return {};
  fs::create_directories(folder_ + "/partial");
  check_free(wanted);
  const Locked lock(folder_);
  if (!lock.held()) return {};
  std::uint64_t usage = read_usage(lock);
  if (usage + wanted > limit_) usage = evict(wanted);
  if (usage + wanted > limit_) {
    write_usage(lock, usage);
    return {};  // others are writing that much just now
  }
  write_usage(lock, usage + wanted);
  std::string path = fmt::format("{}/partial/{}-XXXXXX", folder_, wanted);
  const int descriptor = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) fail(path);
  // While the folder is locked, so that nobody takes it for what a dead process left.
  ::flock(descriptor, LOCK_EX | LOCK_NB);
  return {path, OpenFile(descriptor), wanted};
}

void CacheSpace::publish(const Partial& partial, const std::string& path) {
  int result =
      ::renameat2(AT_FDCWD, partial.path.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
  if (result != 0 && errno == ENOENT) {
    fs::create_directories(fs::path(path).parent_path());
    result = ::renameat2(AT_FDCWD, partial.path.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
  }
  if (result != 0 && errno == EINVAL) {  // a file system that can't do it so
    result = ::rename(partial.path.c_str(), path.c_str());
  }
  if (result == 0) return;
  if (errno != EEXIST) fail(path);
  abandon(partial);  // another process was faster
}

void CacheSpace::abandon(const Partial& partial) noexcept {
  ::unlink(partial.path.c_str());
  try {
    const Locked lock(folder_);
    if (!lock.held()) return;
    const std::uint64_t usage = read_usage(lock);
    write_usage(lock, usage - std::min(usage, partial.bytes));
  } catch (const std::system_error&) {
    // Too much stays counted until the next count.
  }
}

}  // namespace musher

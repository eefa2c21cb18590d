#include "coordinator/temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRandom = "-XXXXXX";  // what mkdtemp fills in

/// The folder, opened and locked by this process alone; -1 where it is another's, or none.
/// A file system without such locks gives -1 too, and nothing is ever stale there.
int open_locked(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  struct stat status {};
  if (::fstat(fd, &status) == 0 && status.st_uid == ::geteuid() &&
      ::flock(fd, LOCK_EX | LOCK_NB) == 0) {
    return fd;
  }
  ::close(fd);
  return -1;
}

void remove_stale(const fs::path& parent, const std::string& prefix) {
  std::error_code ignored;
  for (fs::directory_iterator entry(parent, ignored), end; entry != end; entry.increment(ignored)) {
    const std::string name = entry->path().filename();
    if (!name.starts_with(prefix + "-") || name.size() != prefix.size() + kRandom.size()) continue;
    const int lock = open_locked(entry->path());
    if (lock < 0) continue;
    fs::remove_all(entry->path(), ignored);
    ::close(lock);
  }
}

}  // namespace

TemporaryFolder::TemporaryFolder(const std::string& prefix) {
  const fs::path parent = fs::temp_directory_path();
  remove_stale(parent, prefix);
  // Locked before it has the name by which others would take it for stale.
  std::string made = (parent / ("." + prefix)).string().append(kRandom);
  const bool done = ::mkdtemp(made.data()) != nullptr;
  if (done) {
    lock_ = open_locked(made);
    path_ = parent / fs::path(made).filename().string().substr(1);
  }
  if (!done || ::rename(made.c_str(), path_.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    if (lock_ >= 0) ::close(lock_);
    throw Error(ErrorCode::kResourceExhausted,
                "no temporary folder can be made in " + parent.string() + ": " + why);
  }
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

}  // namespace musher

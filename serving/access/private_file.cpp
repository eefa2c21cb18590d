#include "serving/access/private_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr mode_t kOthers = 077;

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(errno == EACCES ? ErrorCode::kPermissionDenied : ErrorCode::kResourceExhausted,
              fmt::format("{} can't be {}: {}", path, what, std::strerror(errno)));
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

void write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path, "written");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

void open_private_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) fail(path, "made");
  struct stat about = {};
  if (stat(path.c_str(), &about) != 0) fail(path, "looked at");
  if (!S_ISDIR(about.st_mode) || (about.st_mode & kOthers) != 0) {
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{} must be a folder of its owner alone: chmod 700 {}", path, path));
  }
}

std::optional<std::string> read_private_file(const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0 && errno == ENOENT) return std::nullopt;
  if (file.fd < 0) fail(path, "read");
  struct stat about = {};
  if (fstat(file.fd, &about) != 0) fail(path, "looked at");
  if (!S_ISREG(about.st_mode) || (about.st_mode & kOthers) != 0) {
    throw Error(
        ErrorCode::kFailedPrecondition,
        fmt::format("{} holds secrets and must be its owner's alone: chmod 600 {}", path, path));
  }
  std::string text(static_cast<std::size_t>(about.st_size), '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t n = read(file.fd, text.data() + got, text.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "read");
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  text.resize(got);
  return text;
}

void write_private_file(const std::string& path, std::string_view text) {
  const std::string unfinished = path + ".new";
  {
    const Descriptor file{
        open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (file.fd < 0 || fchmod(file.fd, 0600) != 0) fail(unfinished, "made");
    write_all(file.fd, text, unfinished);
    if (fsync(file.fd) != 0) fail(unfinished, "written to the disk");
  }
  if (rename(unfinished.c_str(), path.c_str()) != 0) fail(path, "replaced");
  const std::string folder = path.substr(0, path.rfind('/'));
  const Descriptor parent{open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (parent.fd < 0 || fsync(parent.fd) != 0) fail(folder, "written to the disk");
}

FileLock::FileLock(const std::string& path)
    : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
  if (fd_ < 0) fail(path, "opened");
  while (flock(fd_, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    close(fd_);
    fail(path, "locked");
  }
}

FileLock::~FileLock() {
  close(fd_);
}

}  // namespace musher

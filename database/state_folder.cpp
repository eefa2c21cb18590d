#include "database/state_folder.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/error.h"

namespace musher {
namespace {

std::string holder(int file) {
  char text[32] = {};
  return pread(file, text, sizeof text - 1, 0) > 0 ? fmt::format(", process {}", text) : "";
}

}  // namespace

const std::filesystem::path& make_folder(const std::filesystem::path& folder) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) {
    throw Error(ErrorCode::kPermissionDenied,
                fmt::format("{} can't be made: {}", folder.string(), problem.message()));
  }
  return folder;
}

FolderLock::FolderLock(const std::filesystem::path& folder, std::string_view what) {
  const std::string path = (make_folder(folder) / "lock").string();
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) {
    throw Error(ErrorCode::kPermissionDenied,
                fmt::format("{} can't be opened: {}", path, std::strerror(errno)));
  }
  if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    const std::string who = holder(file_);
    close(file_);
    throw Error(ErrorCode::kFailedPrecondition,
                fmt::format("{} belongs to another {} that runs{}: give each its own --state",
                            folder.string(), what, who));
  }
  // For the message above only; the lock itself is the kernel's and ends with the process.
  const std::string pid = std::to_string(getpid());
  if (ftruncate(file_, 0) == 0 && pwrite(file_, pid.data(), pid.size(), 0) < 0) {
    close(file_);
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{} can't be written: {}", path, std::strerror(errno)));
  }
}

FolderLock::~FolderLock() {
  close(file_);
}

}  // namespace musher

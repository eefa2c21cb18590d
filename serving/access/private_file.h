#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace musher {

/// Files that their owner alone may read. All throw Error with the path.

/// Makes the folder (0700) where there is none. kFailedPrecondition where others may look into it.
void open_private_folder(const std::string& path);

/// Empty where there is none. kFailedPrecondition where others may read it.
std::optional<std::string> read_private_file(const std::string& path);

/// Whole and on the disk, or not at all; mode 0600.
void write_private_file(const std::string& path, std::string_view text);

/// Held by one process at a time; given back when it goes out of scope.
class FileLock {
 public:
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

}  // namespace musher

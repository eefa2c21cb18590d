#pragma once

#include <filesystem>
#include <string_view>

namespace musher {

/// Makes a folder with all above it, where there is none, and gives it back. kPermissionDenied
/// where it can't be made.
const std::filesystem::path& make_folder(const std::filesystem::path& folder);

/// The lock file of a state folder, held while this lives, or the process. Not inherited by the
/// processes that this one starts.
class FolderLock {
 public:
  /// Makes the folder. kFailedPrecondition at once, naming `what` has it, where another process
  /// does: "coordinator".
  FolderLock(const std::filesystem::path& folder, std::string_view what);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace musher

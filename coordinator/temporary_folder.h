#pragma once

#include <filesystem>
#include <string>

namespace musher {

/// A new folder below the system's folder for temporary files, removed with all in it at the end.
/// Those of the same prefix that a killed process of this user could not remove go first: each is
/// locked by the process that it belongs to.
class TemporaryFolder {
 public:
  /// Throws kResourceExhausted where none can be made.
  explicit TemporaryFolder(const std::string& prefix);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace musher

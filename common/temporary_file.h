#pragma once

#include <string>

namespace musher {

/// An empty file that only this user can read, gone when it goes out of scope. kResourceExhausted
/// where none can be made.
class TemporaryFile {
 public:
  TemporaryFile();
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace musher

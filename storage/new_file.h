#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

namespace musher {

/// A file that is made and written once, front to back. What is large goes to the disk past the
/// page cache (O_DIRECT), where the file system can do that: nobody reads it soon, and on a machine
/// whose cores all compute, copying into the cache and writing it back cost three times the
/// processor time. Throws std::system_error. One thread at a time.
class NewFile {
 public:
  /// REQUIRES: nothing is at `path`.
  explicit NewFile(const std::string& path);
  ~NewFile();  ///< closes; the file stays as it is
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const std::byte> bytes);
  /// Returns when all that was written is on the disk. The last call.
  void sync();

 private:
  void flush();
  void set_direct(bool direct);

  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  int descriptor_;
  bool direct_ = false;
  std::unique_ptr<std::byte, Free> buffer_;  ///< aligned, as O_DIRECT wants it
  std::size_t used_ = 0;
};

}  // namespace musher

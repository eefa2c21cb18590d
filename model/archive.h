#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "model/model.h"

struct archive;

namespace musher {

/// A tar.gz written as a stream into a sink, byte-identical for the same files: owner root, time 0,
/// mode 0644. One thread.
class TarGzWriter {
 public:
  explicit TarGzWriter(ByteSink sink);
  TarGzWriter(const TarGzWriter&) = delete;
  TarGzWriter& operator=(const TarGzWriter&) = delete;
  ~TarGzWriter();

  /// One file, of which `content` gives exactly `size` bytes to the sink that it is called with.
  void add(const std::string& name, std::uint64_t size,
           const std::function<void(const ByteSink&)>& content);
  void add(const std::string& name, std::string_view text);

  /// The end of the archive. Without it the sink has been given no whole archive.
  void finish();

 private:
  struct Free {
    void operator()(archive* handle) const;
  };

  void check(long result);

  ByteSink sink_;
  std::exception_ptr failure_;  ///< what the sink threw: it may not cross libarchive
  bool abandoned_ = false;      ///< the sink gets nothing more
  std::unique_ptr<archive, Free> archive_;
};

}  // namespace musher

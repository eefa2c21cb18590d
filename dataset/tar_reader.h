#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataset/unpacked_tar.h"
#include "storage/object_store.h"

struct archive;
struct archive_entry;

namespace musher {

/// A regular file in a tar.
struct Member {
  std::string name;
  std::uint64_t offset = 0;  ///< of its content in the tar, unpacked
  std::uint64_t size = 0;
};

/// A tar as a sequence of members. libarchive knows the formats (ustar, GNU, pax); the bytes come
/// from ranged reads, and what lies between two members of interest is not fetched unless the tar
/// is in gzip. One thread at a time. Inside dataset.
class TarReader {
 public:
  /// Both must outlive it.
  TarReader(ObjectStore& store, const ObjectInfo& tar);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  /// Nothing at the end. What is no regular file is passed over. Throws what the store throws, and
  /// kDataLoss for a tar that is damaged or cut off, naming the place.
  std::optional<Member> next();

  /// The whole content of the member that next() gave last.
  std::string content(const Member& member);

  std::string uri() const;

 private:
  std::optional<Member> describe(archive_entry* entry);
  void check_end();
  std::string place() const;
  [[noreturn]] void fail(std::string_view what);
  static long read_bytes(archive* handle, void* self, const void** bytes);
  static std::int64_t skip_bytes(archive* handle, void* self, std::int64_t request);
  long next_range(const void** bytes);

  ObjectStore& store_;
  const ObjectInfo& tar_;
  std::optional<UnpackedTar> unpacked_;  ///< of a gzip tar
  std::uint64_t position_ = 0;           ///< of the next ranged read
  std::vector<std::byte> range_;         ///< what libarchive looks at
  std::exception_ptr read_error_;
  std::string name_;       ///< of the last member, for messages
  std::uint64_t end_ = 0;  ///< of its content
  std::unique_ptr<archive, int (*)(archive*)> archive_;
};

}  // namespace musher

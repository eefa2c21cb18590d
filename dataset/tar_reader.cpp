#include "dataset/tar_reader.h"

#include <algorithm>
#include <cerrno>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

/// One ranged read. Large enough that a store's latency matters little, small enough to be held by
/// each thread.
constexpr std::uint64_t kRangeBytes = 4 << 20;

std::string_view chars(const char* text) {
  return text == nullptr ? std::string_view("no reason given") : std::string_view(text);
}

}  // namespace

TarReader::TarReader(ObjectStore& store, const ObjectInfo& tar)
    : store_(store), tar_(tar), archive_(archive_read_new(), &archive_read_free) {
  archive_read_support_format_tar(archive_.get());
  archive_read_set_read_callback(archive_.get(), &TarReader::read_bytes);
  if (is_packed_tar_name(tar.key)) {
    unpacked_.emplace(store, tar.key, tar.size);
  } else {
    archive_read_set_skip_callback(archive_.get(), &TarReader::skip_bytes);
  }
  archive_read_set_callback_data(archive_.get(), this);
  if (archive_read_open1(archive_.get()) != ARCHIVE_OK) fail("is no tar");
}

TarReader::~TarReader() = default;

std::optional<Member> TarReader::next() {
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(archive_.get(), &entry);
    if (result == ARCHIVE_EOF) {
      check_end();
      return std::nullopt;
    }
    // A warning is about a name that the locale can't show; it is then kept byte for byte.
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) fail("is damaged or cut off");
    if (auto member = describe(entry)) return member;
  }
}

std::string TarReader::content(const Member& member) {
  std::string text(member.size, '\0');
  const auto got = archive_read_data(archive_.get(), text.data(), text.size());
  if (got < 0 || static_cast<std::uint64_t>(got) != member.size) fail("is damaged or cut off");
  return text;
}

std::string TarReader::uri() const {
  return fmt::format("{}/{}", store_.root().str(), tar_.key);
}

std::optional<Member> TarReader::describe(archive_entry* entry) {
  const char* name = archive_entry_pathname(entry);
  if (name == nullptr) fail("has a member whose name can't be read");
  name_ = name;
  const bool regular = archive_entry_filetype(entry) == AE_IFREG;
  const bool linked = archive_entry_hardlink(entry) != nullptr;
  const auto size = static_cast<std::uint64_t>(std::max<la_int64_t>(0, archive_entry_size(entry)));
  // After a header libarchive stands at the first byte of the content.
  const auto offset = static_cast<std::uint64_t>(archive_filter_bytes(archive_.get(), 0));
  end_ = offset + (regular && !linked ? size : 0);
  // How long a packed one is, is not known before its end, which libarchive then finds missing.
  if (!unpacked_ && end_ > tar_.size) {
    throw Error(
        ErrorCode::kDataLoss,
        fmt::format("{}: the tar is cut off in member {}: it ends at byte {}, the member at {}",
                    uri(), name_, tar_.size, end_));
  }
  if (!regular || linked) return std::nullopt;
  if (archive_entry_sparse_count(entry) > 0) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: member {} is stored as a sparse file; make the tar without --sparse",
                    uri(), name_));
  }
  return Member{.name = name_, .offset = offset, .size = size};
}

/// libarchive takes a tar without its end mark for complete. A cut between two members looks just
/// so, and would lose samples without a word.
void TarReader::check_end() {
  const auto read = static_cast<std::uint64_t>(archive_filter_bytes(archive_.get(), 0));
  const std::uint64_t padded_end = (end_ + 511) / 512 * 512;
  if (read <= padded_end) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{}: the tar is cut off {}: it ends at byte {} without an end mark",
                            uri(), place(), unpacked_ ? read : tar_.size));
  }
  // What follows the end mark is padding; a gzip stream is read on, so that its checksum is seen.
  while (unpacked_ && !unpacked_->next().empty()) {
  }
}

std::string TarReader::place() const {
  return name_.empty() ? "before its first member" : fmt::format("after member {}", name_);
}

/// The store's own error first: libarchive only sees that no bytes came.
void TarReader::fail(std::string_view what) {
  if (read_error_) std::rethrow_exception(read_error_);
  throw Error(ErrorCode::kDataLoss, fmt::format("{}: the tar {} {}: {}", uri(), what, place(),
                                                chars(archive_error_string(archive_.get()))));
}

long TarReader::next_range(const void** bytes) {
  if (unpacked_) {
    const auto part = unpacked_->next();
    *bytes = part.data();
    return static_cast<long>(part.size());
  }
  const std::uint64_t length = std::min(kRangeBytes, tar_.size - position_);
  // At most one range at a time is held.
  range_ = {};
  if (length > 0) range_ = store_.read(tar_.key, position_, length);
  position_ += length;
  *bytes = range_.data();
  return static_cast<long>(length);
}

long TarReader::read_bytes(archive* handle, void* self, const void** bytes) {
  auto& reader = *static_cast<TarReader*>(self);
  try {
    return reader.next_range(bytes);
  } catch (...) {
    reader.read_error_ = std::current_exception();
    archive_set_error(handle, EIO, "the store failed");
    return ARCHIVE_FATAL;
  }
}

/// What lies beyond the range in hand need not be fetched.
std::int64_t TarReader::skip_bytes(archive*, void* self, std::int64_t request) {
  auto& reader = *static_cast<TarReader*>(self);
  const auto skipped = std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(0, request)),
                                reader.tar_.size - reader.position_);
  reader.position_ += skipped;
  return static_cast<std::int64_t>(skipped);
}

}  // namespace musher

#include "dataset/tar_index.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

/// One ranged read. Large enough that a store's latency matters little, small enough to be held by
/// each thread.
constexpr std::uint64_t kRangeBytes = 4 << 20;
/// More digits than any class has.
constexpr std::uint64_t kLongestClassFile = 64;

std::string_view chars(const char* text) {
  return text == nullptr ? std::string_view("no reason given") : std::string_view(text);
}

/// A member's name by WebDataset's rule: the key ends at the first dot after the last slash.
struct MemberName {
  std::string_view key;
  std::string extension;  ///< lower case, without the first dot; "seg.png" is one extension
};

std::optional<MemberName> split(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  const std::size_t base = slash == std::string_view::npos ? 0 : slash + 1;
  const std::size_t dot = name.find('.', base);
  if (dot == std::string_view::npos || dot == base) return std::nullopt;
  MemberName parts{.key = name.substr(0, dot), .extension = std::string(name.substr(dot + 1))};
  for (char& c : parts.extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return parts;
}

bool is_image(std::string_view extension) {
  constexpr std::array<std::string_view, 4> kImages = {"jpg", "jpeg", "png", "webp"};
  return std::ranges::find(kImages, extension) != kImages.end();
}

/// A regular file in the tar.
struct Member {
  std::string name;
  std::uint64_t offset = 0;  ///< of its content in the tar
  std::uint64_t size = 0;
};

/// The tar as a sequence of members. libarchive knows the formats (ustar, GNU, pax); the bytes come
/// from ranged reads.
class TarReader {
 public:
  TarReader(ObjectStore& store, const ObjectInfo& tar)
      : store_(store), tar_(tar), archive_(archive_read_new(), &archive_read_free) {
    archive_read_support_format_tar(archive_.get());
    archive_read_set_read_callback(archive_.get(), &TarReader::read_range);
    archive_read_set_skip_callback(archive_.get(), &TarReader::skip);
    archive_read_set_callback_data(archive_.get(), this);
    if (archive_read_open1(archive_.get()) != ARCHIVE_OK) fail("is no tar");
  }
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  /// Nothing at the end. What is no regular file is passed over.
  std::optional<Member> next() {
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

  /// The whole content of the member that next() gave last.
  std::string content(const Member& member) {
    std::string text(member.size, '\0');
    const auto got = archive_read_data(archive_.get(), text.data(), text.size());
    if (got < 0 || static_cast<std::uint64_t>(got) != member.size) fail("is damaged or cut off");
    return text;
  }

  std::string uri() const { return fmt::format("{}/{}", store_.root().str(), tar_.key); }

 private:
  std::optional<Member> describe(archive_entry* entry) {
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr) fail("has a member whose name can't be read");
    name_ = name;
    const bool regular = archive_entry_filetype(entry) == AE_IFREG;
    const bool linked = archive_entry_hardlink(entry) != nullptr;
    const auto size =
        static_cast<std::uint64_t>(std::max<la_int64_t>(0, archive_entry_size(entry)));
    // After a header libarchive stands at the first byte of the content.
    const auto offset = static_cast<std::uint64_t>(archive_filter_bytes(archive_.get(), 0));
    end_ = offset + (regular && !linked ? size : 0);
    if (end_ > tar_.size) {
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
  void check_end() {
    const auto read = static_cast<std::uint64_t>(archive_filter_bytes(archive_.get(), 0));
    const std::uint64_t padded_end = (end_ + 511) / 512 * 512;
    if (read > padded_end) return;
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{}: the tar is cut off {}: it ends at byte {} without an end mark",
                            uri(), place(), tar_.size));
  }

  std::string place() const {
    return name_.empty() ? "before its first member" : fmt::format("after member {}", name_);
  }

  /// The store's own error first: libarchive only sees that no bytes came.
  [[noreturn]] void fail(std::string_view what) {
    if (read_error_) std::rethrow_exception(read_error_);
    throw Error(ErrorCode::kDataLoss, fmt::format("{}: the tar {} {}: {}", uri(), what, place(),
                                                  chars(archive_error_string(archive_.get()))));
  }

  static la_ssize_t read_range(archive* handle, void* self, const void** bytes) {
    auto& reader = *static_cast<TarReader*>(self);
    const std::uint64_t length = std::min(kRangeBytes, reader.tar_.size - reader.position_);
    try {
      // At most one range at a time is held.
      reader.range_ = {};
      if (length > 0) reader.range_ = reader.store_.read(reader.tar_.key, reader.position_, length);
    } catch (...) {
      reader.read_error_ = std::current_exception();
      archive_set_error(handle, EIO, "the store failed");
      return ARCHIVE_FATAL;
    }
    reader.position_ += length;
    *bytes = reader.range_.data();
    return static_cast<la_ssize_t>(length);
  }

  /// What lies beyond the range in hand need not be fetched.
  static la_int64_t skip(archive*, void* self, la_int64_t request) {
    auto& reader = *static_cast<TarReader*>(self);
    const auto skipped = std::min(static_cast<std::uint64_t>(std::max<la_int64_t>(0, request)),
                                  reader.tar_.size - reader.position_);
    reader.position_ += skipped;
    return static_cast<la_int64_t>(skipped);
  }

  ObjectStore& store_;
  const ObjectInfo& tar_;
  std::uint64_t position_ = 0;    ///< of the next ranged read
  std::vector<std::byte> range_;  ///< what libarchive looks at
  std::exception_ptr read_error_;
  std::string name_;       ///< of the last member, for messages
  std::uint64_t end_ = 0;  ///< of its content
  std::unique_ptr<archive, decltype(&archive_read_free)> archive_;
};

/// What was found of one key so far.
struct Group {
  std::string key;
  std::optional<Member> image;
  std::optional<std::int64_t> label;
};

/// White space around the number is fine: many a file ends in a line break.
std::optional<std::int64_t> parse_class(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  text = text.substr(0, text.find_last_not_of(kBlank) + 1);
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

[[noreturn]] void reject(const TarReader& reader, std::string_view key, std::string_view problem) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: sample {} {}", reader.uri(), key, problem));
}

std::int64_t read_class(TarReader& reader, std::string_view key, const Member& member) {
  if (member.size <= kLongestClassFile) {
    if (const auto label = parse_class(reader.content(member))) return *label;
  }
  reject(
      reader, key,
      fmt::format("has a {} that is no class: it must hold a decimal number from 0", member.name));
}

/// The members by key, in the order in which the keys come first.
std::vector<Group> gather(TarReader& reader) {
  std::vector<Group> groups;
  std::unordered_map<std::string, std::size_t> index;
  while (auto member = reader.next()) {
    const auto name = split(member->name);
    if (!name) continue;
    const auto [entry, fresh] = index.try_emplace(std::string(name->key), groups.size());
    if (fresh) groups.push_back({.key = entry->first, .image = {}, .label = {}});
    Group& group = groups[entry->second];
    if (is_image(name->extension)) {
      if (group.image) {
        reject(reader, group.key,
               fmt::format("has two images, {} and {}", group.image->name, member->name));
      }
      group.image = std::move(*member);
    } else if (name->extension == "cls") {
      if (group.label) reject(reader, group.key, "has two .cls");
      group.label = read_class(reader, group.key, *member);
    }
  }
  return groups;
}

}  // namespace

TarIndex index_tar(ObjectStore& store, const ObjectInfo& tar) {
  TarReader reader(store, tar);
  TarIndex index;
  std::vector<Sample> samples;
  for (const Group& group : gather(reader)) {
    if (!group.image) {
      ++index.keys_without_image;
      continue;
    }
    if (!group.label) reject(reader, group.key, "has an image but no .cls with its class");
    Sample sample;
    sample.offset = group.image->offset;
    sample.size = group.image->size;
    sample.label = *group.label;
    sample.key = fmt::format("{}/{}", tar.key, group.key);
    sample.object = tar.key;
    samples.push_back(std::move(sample));
    index.largest_label = std::max(index.largest_label, *group.label);
  }
  index.block = encode_shard(samples);
  return index;
}

}  // namespace musher

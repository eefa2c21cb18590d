#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// What manifest blocks and index files have in common (`docs/formats.md`): four letters that say
/// what it is, a version byte, the content, and XXH3 of all that as the last 8 bytes. Numbers are
/// LEB128 varints, fixed ones little-endian. Inside dataset.
struct Format {
  std::string_view what;     ///< for messages, e.g. "manifest block"
  std::string_view magic;    ///< 4 letters
  std::uint8_t version = 1;  ///< the one written and the only one read
};

/// Appends.
class ByteWriter {
 public:
  explicit ByteWriter(const Format& format);

  void byte(std::uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void varint(std::uint64_t value);
  /// Small numbers of either sign in few bytes.
  void zigzag(std::int64_t value);
  void text(std::string_view value);
  void bytes(std::span<const std::byte> value);
  /// A name as what it has in common with the one before, and the rest.
  void front_coded(std::string_view previous, std::string_view name);

  /// Adds the checksum. The writer is empty afterwards.
  std::vector<std::byte> seal() &&;

 private:
  std::vector<std::byte> bytes_;
};

/// Reads what a ByteWriter wrote. Throws kDataLoss, with the place, for whatever can't be right;
/// never looks past the end. Does not own the bytes.
class ByteReader {
 public:
  /// Checks magic, version and checksum.
  ByteReader(const Format& format, std::span<const std::byte> sealed);

  std::uint8_t byte(std::string_view field);
  std::uint64_t varint(std::string_view field);
  std::int64_t zigzag(std::string_view field);
  std::string text(std::string_view field);
  /// All that is left.
  std::span<const std::byte> rest();
  /// Turns the previous name into the next one.
  void front_coded(std::string& name, std::string_view field);

  std::size_t left() const { return content_.size() - position_; }
  /// REQUIRES nothing; throws unless everything was read.
  void expect_end();
  [[noreturn]] void fail(const std::string& reason) const;

 private:
  std::string_view chars(std::uint64_t length, std::string_view field);

  Format format_;
  std::span<const std::byte> content_;
  std::size_t position_ = 0;
};

/// Names longer than this are neither written nor read, so that a damaged length can't make a
/// reader swallow memory. S3 allows 1,024 bytes for a key, Linux 4,096 for a path.
inline constexpr std::size_t kLongestName = 16'384;

}  // namespace musher

#include "dataset/byte_codec.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {
namespace {

constexpr std::size_t kChecksumBytes = 8;

std::string_view as_chars(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::uint64_t little_endian(std::span<const std::byte> eight) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kChecksumBytes; ++i) {
    value |= static_cast<std::uint64_t>(eight[i]) << (8 * i);
  }
  return value;
}

}  // namespace

ByteWriter::ByteWriter(const Format& format) {
  bytes(std::as_bytes(std::span(format.magic)));
  byte(format.version);
}

void ByteWriter::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) byte(static_cast<std::uint8_t>(value | 0x80));
  byte(static_cast<std::uint8_t>(value));
}

void ByteWriter::zigzag(std::int64_t value) {
  varint((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}

void ByteWriter::text(std::string_view value) {
  front_coded({}, value);
}

void ByteWriter::bytes(std::span<const std::byte> value) {
  bytes_.insert(bytes_.end(), value.begin(), value.end());
}

void ByteWriter::front_coded(std::string_view previous, std::string_view name) {
  if (name.size() > kLongestName) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the name {}… has {} bytes, more than the {} that a manifest takes",
                            name.substr(0, 100), name.size(), kLongestName));
  }
  const auto differ = std::mismatch(previous.begin(), previous.end(), name.begin(), name.end());
  const auto shared = static_cast<std::size_t>(differ.second - name.begin());
  varint(shared);
  varint(name.size() - shared);
  bytes(std::as_bytes(std::span(name.substr(shared))));
}

std::vector<std::byte> ByteWriter::seal() && {
  const std::uint64_t checksum = hash64(bytes_);
  for (std::size_t i = 0; i < kChecksumBytes; ++i) {
    byte(static_cast<std::uint8_t>(checksum >> (8 * i)));
  }
  bytes_.shrink_to_fit();
  return std::exchange(bytes_, {});
}

ByteReader::ByteReader(const Format& format, std::span<const std::byte> sealed) : format_(format) {
  const std::size_t head = format.magic.size() + 1;
  if (sealed.size() < head + kChecksumBytes) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} is cut off: {} bytes, not even its head and checksum", format.what,
                            sealed.size()));
  }
  content_ = sealed.first(sealed.size() - kChecksumBytes);
  if (as_chars(content_.first(format.magic.size())) != format.magic) {
    fail(fmt::format("it does not begin with {}", format.magic));
  }
  position_ = format.magic.size();
  const std::uint8_t version = byte("version");
  if (version != format.version) {
    fail(fmt::format("version {}, where this program reads {}", version, format.version));
  }
  if (hash64(content_) != little_endian(sealed.last(kChecksumBytes))) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} of {} bytes is damaged: its checksum does not match", format.what,
                            sealed.size()));
  }
}

std::uint8_t ByteReader::byte(std::string_view field) {
  if (left() == 0) fail(fmt::format("it ends before its {}", field));
  return static_cast<std::uint8_t>(content_[position_++]);
}

std::uint64_t ByteReader::varint(std::string_view field) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint8_t next = byte(field);
    if (shift == 63 && next > 1) break;
    value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
    if (next < 0x80) return value;
  }
  fail(fmt::format("its {} does not fit 64 bits", field));
}

std::int64_t ByteReader::zigzag(std::string_view field) {
  const std::uint64_t value = varint(field);
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

std::string ByteReader::text(std::string_view field) {
  std::string value;
  front_coded(value, field);
  return value;
}

std::span<const std::byte> ByteReader::rest() {
  return content_.subspan(std::exchange(position_, content_.size()));
}

void ByteReader::front_coded(std::string& name, std::string_view field) {
  const std::uint64_t shared = varint(field);
  if (shared > name.size()) {
    fail(fmt::format("its {} shares {} bytes with one of {}", field, shared, name.size()));
  }
  const std::uint64_t more = varint(field);
  if (more > kLongestName - std::min<std::uint64_t>(shared, kLongestName)) {
    fail(fmt::format("its {} has more than {} bytes", field, kLongestName));
  }
  name.resize(shared);
  name += chars(more, field);
}

void ByteReader::expect_end() {
  if (left() != 0) fail(fmt::format("{} bytes are left over", left()));
}

void ByteReader::fail(const std::string& reason) const {
  throw Error(ErrorCode::kDataLoss,
              fmt::format("{} is damaged at byte {}: {}", format_.what, position_, reason));
}

std::string_view ByteReader::chars(std::uint64_t length, std::string_view field) {
  if (length > left()) {
    fail(fmt::format("it ends in its {}, {} bytes short", field, length - left()));
  }
  const auto text = as_chars(content_.subspan(position_, length));
  position_ += length;
  return text;
}

}  // namespace musher

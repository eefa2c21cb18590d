#include "image/orientation.h"

#include <cstdint>
#include <string_view>

namespace musher {
namespace {

constexpr int kUprightTag = 1;
constexpr std::uint64_t kOrientation = 0x0112;
constexpr std::uint64_t kShort = 3;  ///< TIFF's type of two bytes
constexpr std::size_t kEntryBytes = 12;

/// Numbers in a TIFF structure; 0 outside of it, which no field that is looked at may be.
struct Tiff {
  std::span<const std::byte> bytes;
  bool little_endian = true;

  std::uint64_t number(std::size_t at, std::size_t length) const {
    if (at > bytes.size() || bytes.size() - at < length) return 0;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < length; ++i) {
      const std::size_t shift = 8 * (little_endian ? i : length - 1 - i);
      value |= std::to_integer<std::uint64_t>(bytes[at + i]) << shift;
    }
    return value;
  }
};

int tag_of(Tiff tiff) {
  const std::string_view text(reinterpret_cast<const char*>(tiff.bytes.data()), tiff.bytes.size());
  if (text.starts_with("MM")) {
    tiff.little_endian = false;
  } else if (!text.starts_with("II")) {
    return kUprightTag;
  }
  constexpr std::uint64_t kMagic = 42;
  if (tiff.number(2, 2) != kMagic) return kUprightTag;
  const std::size_t directory = tiff.number(4, 4);
  const std::uint64_t entries = tiff.number(directory, 2);
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (tiff.number(entry, 2) != kOrientation) continue;
    return tiff.number(entry + 2, 2) == kShort ? static_cast<int>(tiff.number(entry + 8, 2))
                                               : kUprightTag;
  }
  return kUprightTag;
}

}  // namespace

Orientation orientation_of_tag(int tag) {
  switch (tag) {
    case 2:
      return {.transposed = false, .reversed_x = true, .reversed_y = false};
    case 3:
      return {.transposed = false, .reversed_x = true, .reversed_y = true};
    case 4:
      return {.transposed = false, .reversed_x = false, .reversed_y = true};
    case 5:
      return {.transposed = true, .reversed_x = false, .reversed_y = false};
    case 6:
      return {.transposed = true, .reversed_x = true, .reversed_y = false};
    case 7:
      return {.transposed = true, .reversed_x = true, .reversed_y = true};
    case 8:
      return {.transposed = true, .reversed_x = false, .reversed_y = true};
    default:
      return {};
  }
}

Orientation orientation_of_exif(std::span<const std::byte> exif) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  const std::string_view text(reinterpret_cast<const char*>(exif.data()), exif.size());
  if (text.starts_with(kPrefix)) exif = exif.subspan(kPrefix.size());
  return orientation_of_tag(tag_of({.bytes = exif}));
}

}  // namespace musher

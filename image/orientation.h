#pragma once

#include <cstddef>
#include <span>

namespace musher {

/// How stored pixels are to be shown (EXIF 2.32, tag 0x0112). Shown pixel (x, y) is stored pixel
/// (x, y), or (y, x) where transposed, each counted from the far end of the stored picture where
/// the shown axis is reversed.
struct Orientation {
  bool transposed = false;  ///< the shown width is the stored height
  bool reversed_x = false;  ///< along the shown x, the stored axis runs backwards
  bool reversed_y = false;

  bool upright() const { return !transposed && !reversed_x && !reversed_y; }
  bool operator==(const Orientation&) const = default;
};

/// Of the tag's values 1 to 8; upright for any other, as viewers do.
Orientation orientation_of_tag(int tag);

/// From a file's EXIF data: a TIFF header and its first directory, with or without the six bytes
/// "Exif\0\0" before. Damaged data says nothing: a wrong thumbnail loses no pixels.
Orientation orientation_of_exif(std::span<const std::byte> exif);

}  // namespace musher

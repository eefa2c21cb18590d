#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace musher {

/// More than this is refused before a byte is decoded: a small file may claim any size.
inline constexpr std::int64_t kMaxPixels = 200'000'000;

/// A rectangle of pixels: [left, right) × [top, bottom).
struct Rectangle {
  int left = 0;
  int top = 0;
  int right = 0;
  int bottom = 0;
};

/// Decoded pixels of a part of a picture, 8 bits, rows from the top, channels side by side. Moved,
/// not copied.
struct Pixels {
  int left = 0;  ///< where its first pixel lies in the whole picture
  int top = 0;
  int width = 0;
  int height = 0;
  int channels = 0;  ///< 1: grey, 3: RGB
  std::unique_ptr<std::uint8_t[]> data;

  std::size_t stride() const { return static_cast<std::size_t>(width) * channels; }
  /// REQUIRES: 0 <= y < height, counted from `top`.
  std::uint8_t* row(int y) { return data.get() + y * stride(); }
  const std::uint8_t* row(int y) const { return data.get() + y * stride(); }
};

/// Without clearing the memory.
inline Pixels make_pixels(int width, int height, int channels) {
  Pixels pixels;
  pixels.width = width;
  pixels.height = height;
  pixels.channels = channels;
  pixels.data = std::make_unique_for_overwrite<std::uint8_t[]>(pixels.stride() * height);
  return pixels;
}

/// Luma of ITU-R 601, rounded as PIL does.
inline std::uint8_t grey_of(int red, int green, int blue) {
  return static_cast<std::uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}

/// RGB to grey.
inline Pixels to_grey(const Pixels& colour) {
  Pixels grey = make_pixels(colour.width, colour.height, 1);
  const std::uint8_t* in = colour.data.get();
  std::uint8_t* out = grey.data.get();
  for (std::size_t i = 0, n = grey.stride() * grey.height; i < n; ++i, in += 3) {
    out[i] = grey_of(in[0], in[1], in[2]);
  }
  return grey;
}

}  // namespace musher

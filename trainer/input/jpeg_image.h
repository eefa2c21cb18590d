#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "trainer/input/pixels.h"

namespace musher {

/// A JPEG file whose header is read; its pixels are decoded once, as much of them as is wanted. One
/// thread at a time. Throws Error(kDataLoss) with libjpeg's own words for what is no JPEG, damaged
/// or cut off, be it by one byte.
class JpegImage {
 public:
  /// `file` must outlive it.
  explicit JpegImage(std::span<const std::byte> file);
  ~JpegImage();

  int width() const;
  int height() const;

  /// The part of the picture that `wanted` is, or somewhat more, as grey (channels 1) or RGB (3).
  /// The picture is reduced by `denominator` (1, 2, 4 or 8; ceil(width / denominator) wide) in the
  /// inverse DCT, and `wanted` counts in pixels of the reduced picture. REQUIRES: called once;
  /// `wanted` is not empty and inside the picture.
  Pixels read(int channels, int denominator, Rectangle wanted);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace musher

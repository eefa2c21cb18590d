#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "image/orientation.h"
#include "image/pixels.h"

namespace musher {

/// A picture file whose header is read; its pixels are decoded once, as much of them as is wanted.
/// One thread at a time.
class EncodedImage {
 public:
  virtual ~EncodedImage() = default;

  /// Of the pixels as they are stored.
  virtual int width() const = 0;
  virtual int height() const = 0;
  /// How they are to be shown, by the file's EXIF; upright where it says nothing.
  virtual Orientation orientation() const = 0;
  /// Whether read() can reduce the picture while it decodes.
  virtual bool reduces() const { return false; }

  /// The part of the picture that `wanted` is, or more, as grey (channels 1) or RGB (3). The
  /// picture is reduced by `denominator` (1, 2, 4 or 8; ceil(width / denominator) wide), and
  /// `wanted` counts in pixels of the reduced picture. Throws Error(kDataLoss) with the library's
  /// own words for a file that is damaged or cut off, be it by one byte, whatever is wanted.
  /// REQUIRES: called once; `wanted` is not empty and inside the picture; denominator is 1 unless
  /// reduces().
  virtual Pixels read(int channels, int denominator, Rectangle wanted) = 0;
};

/// JPEG, PNG or WebP, told apart by the first bytes. `file` must outlive it. Throws
/// Error(kDataLoss) for what is none of them, has a broken header, or claims more than
/// `max_pixels`.
std::unique_ptr<EncodedImage> open_image(std::span<const std::byte> file,
                                         std::int64_t max_pixels = kMaxPixels);

}  // namespace musher

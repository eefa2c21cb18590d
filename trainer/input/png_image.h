#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "trainer/input/pixels.h"

namespace musher {

/// A PNG file whose header is read; its pixels are decoded once. One thread at a time. Throws
/// Error(kDataLoss) with libpng's own words for what is no PNG, damaged or cut off.
class PngImage {
 public:
  /// `file` must outlive it.
  explicit PngImage(std::span<const std::byte> file);
  ~PngImage();

  int width() const;
  int height() const;

  /// The whole picture as grey (channels 1) or RGB (3): palettes resolved, 16 bits scaled to 8,
  /// alpha dropped as torchvision does. REQUIRES: called once.
  Pixels read(int channels);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace musher

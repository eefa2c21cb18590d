#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "image/encoded_image.h"

namespace musher {

/// A PNG file by libpng: palettes resolved, 16 bits scaled to 8, alpha dropped as torchvision does.
/// read() gives the whole picture.
class PngImage final : public EncodedImage {
 public:
  explicit PngImage(std::span<const std::byte> file);
  ~PngImage() override;

  int width() const override;
  int height() const override;
  Orientation orientation() const override;
  Pixels read(int channels, int denominator, Rectangle wanted) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace musher

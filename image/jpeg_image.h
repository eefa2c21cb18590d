#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "image/encoded_image.h"

namespace musher {

/// A JPEG file by libjpeg-turbo: grey, YCbCr, RGB, CMYK and YCCK, baseline and progressive. read()
/// reduces in the inverse DCT, and decodes little more than what is wanted.
class JpegImage final : public EncodedImage {
 public:
  explicit JpegImage(std::span<const std::byte> file);
  ~JpegImage() override;

  int width() const override;
  int height() const override;
  Orientation orientation() const override;
  bool reduces() const override { return true; }
  Pixels read(int channels, int denominator, Rectangle wanted) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace musher

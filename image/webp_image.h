#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "image/encoded_image.h"

namespace musher {

/// A WebP file by libwebp, lossy or lossless. Alpha is dropped, as torchvision does; of an
/// animation the first frame is taken, as PIL does. read() gives the whole picture. WebP has no
/// checksums: what is cut off is always found, a flipped bit only where it breaks the code.
class WebpImage final : public EncodedImage {
 public:
  explicit WebpImage(std::span<const std::byte> file);
  ~WebpImage() override;

  int width() const override;
  int height() const override;
  Orientation orientation() const override;
  Pixels read(int channels, int denominator, Rectangle wanted) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace musher

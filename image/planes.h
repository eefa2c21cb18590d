#pragma once

#include <cstddef>
#include <span>

namespace musher {

/// A picture of floats, [channels, height, width], row-major; does not own them. Values are 0 to 1
/// until it is normalised.
struct Planes {
  float* data = nullptr;
  int channels = 0;  ///< 1: grey, 3: RGB
  int height = 0;
  int width = 0;

  std::size_t area() const { return static_cast<std::size_t>(height) * width; }
  std::size_t size() const { return area() * channels; }
  /// REQUIRES: 0 <= c < channels.
  std::span<float> plane(int c) const { return {data + c * area(), area()}; }
  std::span<float> all() const { return {data, size()}; }
};

}  // namespace musher

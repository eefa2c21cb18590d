#include "image/warp.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace musher {
namespace {

/// About the upper left corner instead of the middle.
Affine about_corner(Affine affine, int width, int height) {
  const double cx = -0.5 * width;
  const double cy = -0.5 * height;
  affine.x0 += cx - affine.xx * cx - affine.xy * cy;
  affine.y0 += cy - affine.yx * cx - affine.yy * cy;
  return affine;
}

/// One coordinate of the source, in pixels of the picture, from the row of `affine` that gives it:
/// torchvision scales the picture to [-1, 1] and back.
struct Coordinate {
  float of_x;
  float of_y;
  float constant;
  float length;

  Coordinate(double a, double b, double c, int pixels)
      : of_x(static_cast<float>(a) / (0.5f * static_cast<float>(pixels))),
        of_y(static_cast<float>(b) / (0.5f * static_cast<float>(pixels))),
        constant(static_cast<float>(c) / (0.5f * static_cast<float>(pixels))),
        length(static_cast<float>(pixels)) {}

  int nearest(float x, float y) const {
    const float scaled = x * of_x + y * of_y + constant;
    return static_cast<int>(std::nearbyint(((scaled + 1.0f) * length - 1.0f) / 2.0f));
  }
};

}  // namespace

Affine rotation(double degrees) {
  const double angle = degrees * std::numbers::pi / 180.0;
  Affine affine;
  affine.xx = std::cos(angle);
  affine.xy = -std::sin(angle);
  affine.yx = std::sin(angle);
  affine.yy = std::cos(angle);
  return affine;
}

Affine shear_x(double slope, int width, int height) {
  Affine affine;
  affine.xy = slope;
  return about_corner(affine, width, height);
}

Affine shear_y(double slope, int width, int height) {
  Affine affine;
  affine.yx = slope;
  return about_corner(affine, width, height);
}

Affine translation(int right, int down) {
  Affine affine;
  affine.x0 = -right;
  affine.y0 = -down;
  return affine;
}

void warp(Planes image, const Affine& affine) {
  const Coordinate source_x(affine.xx, affine.xy, affine.x0, image.width);
  const Coordinate source_y(affine.yx, affine.yy, affine.y0, image.height);
  const std::vector<float> before(image.all().begin(), image.all().end());
  const auto left = static_cast<float>((1.0 - image.width) * 0.5);
  const auto top = static_cast<float>((1.0 - image.height) * 0.5);
  std::size_t at = 0;
  for (int y = 0; y < image.height; ++y) {
    const float from_middle_y = top + static_cast<float>(y);
    for (int x = 0; x < image.width; ++x, ++at) {
      const float from_middle_x = left + static_cast<float>(x);
      const int sx = source_x.nearest(from_middle_x, from_middle_y);
      const int sy = source_y.nearest(from_middle_x, from_middle_y);
      const bool inside = sx >= 0 && sx < image.width && sy >= 0 && sy < image.height;
      const std::size_t from = static_cast<std::size_t>(sy) * image.width + sx;
      for (int c = 0; c < image.channels; ++c) {
        const std::size_t plane = c * image.area();
        image.data[plane + at] = inside ? before[plane + from] : 0.0f;
      }
    }
  }
}

}  // namespace musher

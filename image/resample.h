#pragma once

#include <span>
#include <vector>

#include "image/pixels.h"

namespace musher {

/// How one axis of a picture becomes one axis of the result.
struct AxisMap {
  double begin = 0;  ///< the box, in pixels of the source
  double end = 0;
  int source = 0;   ///< pixels of the source
  int resized = 0;  ///< pixels that the box becomes
  int window = 0;   ///< the first of these that is taken
  int shift = 0;    ///< result i is window pixel i + shift; outside of the window it is zero
  bool mirrored = false;
  int size = 0;  ///< pixels of the result
};

/// Of which source pixels each pixel of the result is the weighted sum, along one axis.
struct Axis {
  int taps = 0;                ///< of each pixel, the same for all; unused ones weigh 0
  std::vector<int> start;      ///< [size], first source pixel
  std::vector<float> weights;  ///< [size, taps]
  int first = 0;               ///< source pixels [first, last) are looked at
  int last = 0;
};

/// The triangle filter, widened where the picture shrinks, so that every source pixel counts: what
/// PIL and torchvision call bilinear with antialias. Source pixels outside of the box do not count.
Axis make_axis(const AxisMap& map);

/// Applies both axes, then value × scale[c] + offset[c]; `out` is [channels, size, size]. REQUIRES:
/// `pixels` covers [first, last) of both axes, channels is 1 or 3.
void resample(const Pixels& pixels, const Axis& x, const Axis& y, std::span<const float> scale,
              std::span<const float> offset, float* out);

}  // namespace musher

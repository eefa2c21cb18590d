#pragma once

#include <vector>

#include "image/planes.h"

namespace musher {

/// Pixel (x, y) of the result is the pixel of the source that lies nearest to
/// (xx·x + xy·y + x0, yx·x + yy·y + y0), black where that is outside. Coordinates count from the
/// middle of the picture, in pixels.
struct Affine {
  double xx = 1, xy = 0, x0 = 0;
  double yx = 0, yy = 1, y0 = 0;
};

/// As torchvision.transforms.v2.functional: counter-clockwise by `degrees` about the middle.
Affine rotation(double degrees);
/// Rows move to the right by `slope` pixels for each row from the top, as torchvision's affine with
/// shear atan(slope) about the upper left corner.
Affine shear_x(double slope, int width, int height);
/// Likewise columns down, from the left.
Affine shear_y(double slope, int width, int height);
Affine translation(int right, int down);

/// In place. In single precision, as torchvision's grid_sample in the mode "nearest", so that the
/// same pixels are the nearest ones.
void warp(Planes image, const Affine& affine);

}  // namespace musher

#pragma once

#include "image/planes.h"

namespace musher {

/// What torchvision.transforms.v2.functional does to the colours of a float tensor, in place and
/// under its names. Values are 0 to 1 before and after. Where a function needs colour, it leaves a
/// grey picture as it is, as torchvision does.

/// Times `factor`. REQUIRES, as for the next two: factor >= 0; 1 changes nothing.
void adjust_brightness(Planes image, double factor);
/// Away from (above 1) or towards the mean of the luma.
void adjust_contrast(Planes image, double factor);
/// Away from or towards grey.
void adjust_saturation(Planes image, double factor);
/// Around the colour circle, whose length is 1. REQUIRES: -0.5 <= factor <= 0.5.
void adjust_hue(Planes image, double factor);

/// Away from or towards what a 3×3 filter of ones with a five in the middle gives; the outermost
/// pixels stay.
void adjust_sharpness(Planes image, double factor);

/// To 2^bits levels. REQUIRES: 0 <= bits <= 8.
void posterize(Planes image, int bits);
/// Inverts what is at least `threshold`.
void solarize(Planes image, double threshold);
/// Each channel to the whole range.
void autocontrast(Planes image);
/// Each channel to a flat histogram of 256 bins, as PIL.ImageOps.equalize.
void equalize(Planes image);

}  // namespace musher

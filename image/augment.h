#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/random.h"
#include "image/pixels.h"
#include "image/planes.h"

namespace musher {

/// Random changes to a picture of the size that the model is given, each in two halves: `choose…`
/// draws the parameters, and what applies them is a pure function of pixels and parameters. The
/// distributions are torchvision's.

/// Which of the four, in which order, by how much (torchvision.transforms.v2.ColorJitter).
struct ColorJitter {
  enum Kind { kBrightness, kContrast, kSaturation, kHue };
  std::array<Kind, 4> order = {kBrightness, kContrast, kSaturation, kHue};
  std::array<std::optional<double>, 4> factors;  ///< by Kind; empty: left out
};
/// `strengths` by Kind: factors from 1 - strength (at least 0) to 1 + strength, of the hue from
/// -strength to strength; 0 leaves one out.
ColorJitter choose_color_jitter(const std::array<double, 4>& strengths, Random& random);
void apply(const ColorJitter& jitter, Planes image);

/// RandAugment's operations (Cubuk et al. 2020), with the magnitude that each understands.
struct AugmentOp {
  enum Kind {
    kIdentity,
    kShearX,
    kShearY,
    kTranslateX,
    kTranslateY,
    kRotate,
    kBrightness,
    kColor,
    kContrast,
    kSharpness,
    kPosterize,
    kSolarize,
    kAutoContrast,
    kEqualize,
  };
  static constexpr int kKinds = kEqualize + 1;
  Kind kind = kIdentity;
  double magnitude = 0;
};
/// torchvision's, e.g. "ShearX".
std::string_view name_of(AugmentOp::Kind kind);
/// `count` of them, each as likely; `magnitude` of 0 to 30 out of 31 steps. REQUIRES: that range.
std::vector<AugmentOp> choose_rand_augment(int count, int magnitude, int height, int width,
                                           Random& random);
/// What lies outside of the picture is black; the nearest pixel is taken.
void apply(const AugmentOp& op, Planes image);

/// The part to erase (Zhong et al. 2020): with `probability`, 2 % to 33 % of the area, aspect ratio
/// 0.3 to 3.3; nothing where ten tries do not fit.
std::optional<Rectangle> choose_erased(double probability, int height, int width, Random& random);
/// To zero: after normalisation that is the mean colour.
void erase(Planes image, const Rectangle& part);

}  // namespace musher

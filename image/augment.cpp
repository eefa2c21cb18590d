#include "image/augment.h"

#include <algorithm>
#include <cmath>

#include "image/colour.h"
#include "image/warp.h"

namespace musher {
namespace {

constexpr double kLeastErased = 0.02;
constexpr double kMostErased = 0.33;
constexpr double kLeastRatio = 0.3;
constexpr double kGreatestRatio = 3.3;
constexpr int kTries = 10;

/// torchvision's num_magnitude_bins - 1.
constexpr double kGreatestMagnitude = 30;

struct Space {
  double greatest;  ///< at the last bin; at the first it is 0
  bool is_signed;
};

/// What torchvision's _AUGMENTATION_SPACE says, but for kPosterize and kSolarize.
Space space_of(AugmentOp::Kind kind, int height, int width) {
  switch (kind) {
    case AugmentOp::kShearX:
    case AugmentOp::kShearY:
      return {0.3, true};
    case AugmentOp::kTranslateX:
      return {150.0 / 331.0 * width, true};
    case AugmentOp::kTranslateY:
      return {150.0 / 331.0 * height, true};
    case AugmentOp::kRotate:
      return {30.0, true};
    case AugmentOp::kBrightness:
    case AugmentOp::kColor:
    case AugmentOp::kContrast:
    case AugmentOp::kSharpness:
      return {0.9, true};
    default:
      return {0, false};
  }
}

double magnitude_of(AugmentOp::Kind kind, int magnitude, int height, int width) {
  if (kind == AugmentOp::kPosterize) return std::nearbyint(8 - magnitude / 7.5);
  if (kind == AugmentOp::kSolarize) return 1 - magnitude / kGreatestMagnitude;
  return space_of(kind, height, width).greatest * magnitude / kGreatestMagnitude;
}

}  // namespace

ColorJitter choose_color_jitter(const std::array<double, 4>& strengths, Random& random) {
  ColorJitter jitter;
  std::vector<ColorJitter::Kind> order(jitter.order.begin(), jitter.order.end());
  random.shuffle(order);
  std::ranges::copy(order, jitter.order.begin());
  for (std::size_t kind = 0; kind < strengths.size(); ++kind) {
    const double strength = strengths[kind];
    if (strength == 0) continue;
    const double middle = kind == ColorJitter::kHue ? 0 : 1;
    const double low = kind == ColorJitter::kHue ? -strength : std::max(0.0, 1 - strength);
    jitter.factors[kind] = random.uniform(low, middle + strength);
  }
  return jitter;
}

void apply(const ColorJitter& jitter, Planes image) {
  for (const ColorJitter::Kind kind : jitter.order) {
    const std::optional<double> factor = jitter.factors[kind];
    if (!factor) continue;
    switch (kind) {
      case ColorJitter::kBrightness:
        adjust_brightness(image, *factor);
        break;
      case ColorJitter::kContrast:
        adjust_contrast(image, *factor);
        break;
      case ColorJitter::kSaturation:
        adjust_saturation(image, *factor);
        break;
      case ColorJitter::kHue:
        adjust_hue(image, *factor);
        break;
    }
  }
}

std::string_view name_of(AugmentOp::Kind kind) {
  constexpr std::array<std::string_view, AugmentOp::kKinds> kNames = {
      "Identity", "ShearX",   "ShearY",    "TranslateX", "TranslateY", "Rotate",       "Brightness",
      "Color",    "Contrast", "Sharpness", "Posterize",  "Solarize",   "AutoContrast", "Equalize"};
  return kNames[kind];
}

std::vector<AugmentOp> choose_rand_augment(int count, int magnitude, int height, int width,
                                           Random& random) {
  std::vector<AugmentOp> ops(static_cast<std::size_t>(count));
  for (AugmentOp& op : ops) {
    op.kind = static_cast<AugmentOp::Kind>(random.below(AugmentOp::kKinds));
    op.magnitude = magnitude_of(op.kind, magnitude, height, width);
    // Drawn for each kind, so that the next operation does not depend on this one's.
    const bool negative = random.below(2) == 1;
    if (negative && space_of(op.kind, height, width).is_signed) op.magnitude = -op.magnitude;
  }
  return ops;
}

void apply(const AugmentOp& op, Planes image) {
  const double m = op.magnitude;
  switch (op.kind) {
    case AugmentOp::kIdentity:
      return;
    case AugmentOp::kShearX:
      return warp(image, shear_x(m, image.width, image.height));
    case AugmentOp::kShearY:
      return warp(image, shear_y(m, image.width, image.height));
    case AugmentOp::kTranslateX:
      return warp(image, translation(static_cast<int>(m), 0));
    case AugmentOp::kTranslateY:
      return warp(image, translation(0, static_cast<int>(m)));
    case AugmentOp::kRotate:
      return warp(image, rotation(m));
    case AugmentOp::kBrightness:
      return adjust_brightness(image, 1 + m);
    case AugmentOp::kColor:
      return adjust_saturation(image, 1 + m);
    case AugmentOp::kContrast:
      return adjust_contrast(image, 1 + m);
    case AugmentOp::kSharpness:
      return adjust_sharpness(image, 1 + m);
    case AugmentOp::kPosterize:
      return posterize(image, static_cast<int>(m));
    case AugmentOp::kSolarize:
      return solarize(image, m);
    case AugmentOp::kAutoContrast:
      return autocontrast(image);
    case AugmentOp::kEqualize:
      return equalize(image);
  }
}

std::optional<Rectangle> choose_erased(double probability, int height, int width, Random& random) {
  if (random.uniform() >= probability) return std::nullopt;
  const double area = static_cast<double>(height) * width;
  for (int i = 0; i < kTries; ++i) {
    const double erased = area * random.uniform(kLeastErased, kMostErased);
    const double ratio = std::exp(random.uniform(std::log(kLeastRatio), std::log(kGreatestRatio)));
    const int h = static_cast<int>(std::lrint(std::sqrt(erased * ratio)));
    const int w = static_cast<int>(std::lrint(std::sqrt(erased / ratio)));
    if (h >= height || w >= width) continue;
    const int top = static_cast<int>(random.below(static_cast<std::uint64_t>(height - h + 1)));
    const int left = static_cast<int>(random.below(static_cast<std::uint64_t>(width - w + 1)));
    return Rectangle{.left = left, .top = top, .right = left + w, .bottom = top + h};
  }
  return std::nullopt;
}

void erase(Planes image, const Rectangle& part) {
  for (int c = 0; c < image.channels; ++c) {
    const std::span<float> plane = image.plane(c);
    for (int y = part.top; y < part.bottom; ++y) {
      const auto row = plane.subspan(static_cast<std::size_t>(y) * image.width + part.left);
      std::fill_n(row.begin(), part.right - part.left, 0.0f);
    }
  }
}

}  // namespace musher

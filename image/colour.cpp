#include "image/colour.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace musher {
namespace {

float in_range(float value) {
  return std::clamp(value, 0.0f, 1.0f);
}

/// torchvision's luma: ITU-R 601 with its own roundings.
float luma(float red, float green, float blue) {
  return 0.2989f * red + 0.587f * green + 0.114f * blue;
}

/// image × factor + other × (1 - factor)
float blend(float image, float other, float factor, float rest) {
  return in_range(image * factor + other * rest);
}

struct Hsv {
  float hue;  ///< [0, 1)
  float saturation;
  float value;
};

Hsv to_hsv(float r, float g, float b) {
  const float most = std::max({r, g, b});
  const float range = most - std::min({r, g, b});
  if (range == 0) return {0, 0, most};
  const float rc = (most - r) / range;
  const float gc = (most - g) / range;
  const float bc = (most - b) / range;
  float hue = 0;
  if (most == r) {
    hue = bc - gc;
  } else if (most == g) {
    hue = 2.0f + rc - bc;
  } else {
    hue = 4.0f + gc - rc;
  }
  return {std::fmod(hue * (1.0f / 6.0f) + 1.0f, 1.0f), range / most, most};
}

std::array<float, 3> to_rgb(const Hsv& hsv) {
  const float sextant = std::floor(hsv.hue * 6);
  const float f = hsv.hue * 6 - sextant;
  const float v = hsv.value;
  const float p = in_range((1 - hsv.saturation) * v);
  const float q = in_range((1 - hsv.saturation * f) * v);
  const float t = in_range((hsv.saturation * f + (1 - hsv.saturation)) * v);
  switch (static_cast<int>(sextant) % 6) {
    case 0:
      return {v, t, p};
    case 1:
      return {q, v, p};
    case 2:
      return {p, v, t};
    case 3:
      return {p, q, v};
    case 4:
      return {t, p, v};
    default:
      return {v, p, q};
  }
}

}  // namespace

void adjust_brightness(Planes image, double factor) {
  const auto f = static_cast<float>(factor);
  for (float& value : image.all()) value = in_range(value * f);
}

void adjust_contrast(Planes image, double factor) {
  double sum = 0;
  if (image.channels == 3) {
    const auto r = image.plane(0), g = image.plane(1), b = image.plane(2);
    for (std::size_t i = 0; i < image.area(); ++i) sum += luma(r[i], g[i], b[i]);
  } else {
    for (float value : image.all()) sum += value;
  }
  const auto mean = static_cast<float>(sum / static_cast<double>(image.area()));
  const auto f = static_cast<float>(factor);
  const auto rest = static_cast<float>(1.0 - factor);
  for (float& value : image.all()) value = blend(value, mean, f, rest);
}

void adjust_saturation(Planes image, double factor) {
  if (image.channels != 3) return;
  const auto r = image.plane(0), g = image.plane(1), b = image.plane(2);
  const auto f = static_cast<float>(factor);
  const auto rest = static_cast<float>(1.0 - factor);
  for (std::size_t i = 0; i < image.area(); ++i) {
    const float grey = luma(r[i], g[i], b[i]);
    r[i] = blend(r[i], grey, f, rest);
    g[i] = blend(g[i], grey, f, rest);
    b[i] = blend(b[i], grey, f, rest);
  }
}

void adjust_hue(Planes image, double factor) {
  if (image.channels != 3) return;
  const auto r = image.plane(0), g = image.plane(1), b = image.plane(2);
  const auto shift = static_cast<float>(factor);
  for (std::size_t i = 0; i < image.area(); ++i) {
    Hsv hsv = to_hsv(r[i], g[i], b[i]);
    hsv.hue += shift;
    hsv.hue -= std::floor(hsv.hue);
    const std::array<float, 3> rgb = to_rgb(hsv);
    r[i] = rgb[0];
    g[i] = rgb[1];
    b[i] = rgb[2];
  }
}

void adjust_sharpness(Planes image, double factor) {
  if (image.height <= 2 || image.width <= 2) return;
  const auto rest = static_cast<float>(1.0 - factor);
  const auto width = static_cast<std::size_t>(image.width);
  constexpr float kEdge = 1.0f / 13.0f;
  constexpr float kMiddle = 5.0f / 13.0f;
  std::vector<float> before;
  for (int c = 0; c < image.channels; ++c) {
    const std::span<float> plane = image.plane(c);
    before.assign(plane.begin(), plane.end());
    for (int y = 1; y + 1 < image.height; ++y) {
      const float* above = before.data() + static_cast<std::size_t>(y - 1) * width;
      const float* here = above + width;
      const float* below = here + width;
      float* out = plane.data() + static_cast<std::size_t>(y) * width;
      for (std::size_t x = 1; x + 1 < width; ++x) {
        const float edges = above[x - 1] + above[x] + above[x + 1] + here[x - 1] + here[x + 1] +
                            below[x - 1] + below[x] + below[x + 1];
        const float blurred = kEdge * edges + kMiddle * here[x];
        out[x] = here[x] + rest * (blurred - here[x]);
      }
    }
    for (float& value : plane) value = in_range(value);
  }
}

void posterize(Planes image, int bits) {
  const auto levels = static_cast<float>(1 << bits);
  for (float& value : image.all()) {
    value = std::clamp(std::floor(value * levels), 0.0f, levels - 1) * (1.0f / levels);
  }
}

void solarize(Planes image, double threshold) {
  const auto least = static_cast<float>(threshold);
  for (float& value : image.all()) value = value >= least ? 1.0f - value : value;
}

void autocontrast(Planes image) {
  for (int c = 0; c < image.channels; ++c) {
    const std::span<float> plane = image.plane(c);
    const auto [low, high] = std::ranges::minmax(plane);
    if (low == high) continue;
    for (float& value : plane) value = in_range((value - low) / (high - low));
  }
}

void equalize(Planes image) {
  std::vector<std::uint8_t> bins(image.area());
  for (int c = 0; c < image.channels; ++c) {
    const std::span<float> plane = image.plane(c);
    std::array<std::int64_t, 256> histogram{};
    for (std::size_t i = 0; i < bins.size(); ++i) {
      // As torchvision makes bytes of floats: 256 bins of equal width.
      bins[i] = static_cast<std::uint8_t>(in_range(plane[i]) * (256.0f - 1e-3f));
      ++histogram[bins[i]];
    }
    const auto last = std::find_if(histogram.rbegin(), histogram.rend(),
                                   [](std::int64_t count) { return count > 0; });
    const std::int64_t step = (static_cast<std::int64_t>(bins.size()) - *last) / 255;
    std::array<float, 256> table{};
    std::int64_t below = step / 2;
    for (std::size_t i = 0; i < table.size(); ++i) {
      const auto level =
          step == 0 ? static_cast<std::int64_t>(i) : std::min<std::int64_t>(below / step, 255);
      table[i] = static_cast<float>(level) / 255.0f;
      below += histogram[i];
    }
    for (std::size_t i = 0; i < bins.size(); ++i) plane[i] = table[bins[i]];
  }
}

}  // namespace musher

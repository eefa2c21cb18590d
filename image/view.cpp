#include "image/view.h"

#include <algorithm>
#include <cmath>

namespace musher {
namespace {

constexpr int kTries = 10;

/// To the nearest, ties to even, as Python rounds.
int rounded(double value) {
  return static_cast<int>(std::lrint(value));
}

View box_view(int left, int top, int width, int height, int size) {
  View view;
  view.left = left;
  view.top = top;
  view.width = width;
  view.height = height;
  view.resized_width = size;
  view.resized_height = size;
  return view;
}

/// Where no try fitted: the middle of the picture, as much of it as the ratios allow.
View middle_box(int width, int height, const ViewRule& rule) {
  const auto [least, greatest] = rule.crop_ratio;
  const double ratio = static_cast<double>(width) / height;
  int w = width;
  int h = height;
  if (ratio < least) h = std::clamp(rounded(width / least), 1, height);
  if (ratio > greatest) w = std::clamp(rounded(height * greatest), 1, width);
  return box_view((width - w) / 2, (height - h) / 2, w, h, rule.size);
}

View random_resized_crop(int width, int height, const ViewRule& rule, Random& random) {
  const auto [least, greatest] = rule.crop_ratio;
  const double area = static_cast<double>(width) * height;
  for (int i = 0; i < kTries; ++i) {
    const double target = area * random.uniform(rule.crop_area[0], rule.crop_area[1]);
    const double ratio = std::exp(random.uniform(std::log(least), std::log(greatest)));
    const int w = rounded(std::sqrt(target * ratio));
    const int h = rounded(std::sqrt(target / ratio));
    if (w <= 0 || h <= 0 || w > width || h > height) continue;
    const int top = static_cast<int>(random.below(static_cast<std::uint64_t>(height - h + 1)));
    const int left = static_cast<int>(random.below(static_cast<std::uint64_t>(width - w + 1)));
    return box_view(left, top, w, h, rule.size);
  }
  return middle_box(width, height, rule);
}

bool coin(Random& random) {
  return random.below(2) == 1;
}

}  // namespace

View evaluation_view(int width, int height, const ViewRule& rule) {
  const int size = rule.size;
  View view = box_view(0, 0, width, height, size);
  constexpr int kTiny = 64;
  if (rule.resize_size == 0 && size < kTiny) return view;
  const int shorter = rule.resize_size > 0 ? rule.resize_size : rounded(size * 256.0 / 224.0);
  const std::int64_t longer =
      std::int64_t{shorter} * std::max(width, height) / std::min(width, height);
  view.resized_width = width <= height ? shorter : static_cast<int>(longer);
  view.resized_height = width <= height ? static_cast<int>(longer) : shorter;
  view.window_left = rounded((view.resized_width - size) / 2.0);
  view.window_top = rounded((view.resized_height - size) / 2.0);
  return view;
}

View choose_view(int width, int height, const ViewRule& rule, Random& random) {
  View view = rule.augmentation == Augmentation::kRandomResizedCrop
                  ? random_resized_crop(width, height, rule, random)
                  : evaluation_view(width, height, rule);
  if (rule.augmentation == Augmentation::kCropFlip) {
    const int padding = rule.size / 8;
    const auto positions = static_cast<std::uint64_t>(2 * padding + 1);
    view.shift_y = static_cast<int>(random.below(positions)) - padding;
    view.shift_x = static_cast<int>(random.below(positions)) - padding;
  }
  if (rule.augmentation != Augmentation::kNone) view.mirrored = coin(random);
  return view;
}

}  // namespace musher

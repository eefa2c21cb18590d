#include "image/image_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"
#include "image/encoded_image.h"
#include "image/resample.h"

namespace musher {
namespace {

/// An axis of a view, `begin` and `length` in pixels of the shown picture, which is `source` long.
struct ShownAxis {
  int begin = 0;
  int length = 0;
  int source = 0;
  int resized = 0;
  int window = 0;
  int shift = 0;
  bool mirrored = false;
  bool reversed = false;  ///< the stored axis runs the other way
};

/// The axis in the stored picture, reduced by `denominator`.
Axis stored_axis(const ShownAxis& shown, int denominator, int size) {
  const double reduce = 1.0 / denominator;
  const int begin = shown.reversed ? shown.source - shown.begin - shown.length : shown.begin;
  AxisMap map;
  map.begin = begin * reduce;
  map.end = (begin + shown.length) * reduce;
  map.source = (shown.source + denominator - 1) / denominator;
  map.resized = shown.resized;
  map.window = shown.reversed ? shown.resized - shown.window - size : shown.window;
  map.shift = shown.reversed ? -shown.shift : shown.shift;
  map.mirrored = shown.mirrored != shown.reversed;
  map.size = size;
  return make_axis(map);
}

/// The largest reduction that still leaves at least as many pixels as the box is resized to.
int denominator_for(const View& view) {
  for (int denominator : {8, 4, 2}) {
    if (view.width >= denominator * view.resized_width &&
        view.height >= denominator * view.resized_height) {
      return denominator;
    }
  }
  return 1;
}

/// Each plane of [channels, size, size] about its diagonal.
void transpose(float* planes, int channels, int size) {
  for (int c = 0; c < channels; ++c, planes += static_cast<std::ptrdiff_t>(size) * size) {
    for (int y = 0; y < size; ++y) {
      for (int x = 0; x < y; ++x) std::swap(planes[y * size + x], planes[x * size + y]);
    }
  }
}

void check(const ImageTransform& transform) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidArgument, message);
  };
  if (transform.size < 1 || transform.size > 8192) {
    refuse(fmt::format("image_size must be from 1 to 8192, not {}", transform.size));
  }
  if (transform.channels != 1 && transform.channels != 3) {
    refuse(fmt::format("image_channels must be 1 or 3, not {}", transform.channels));
  }
  const auto channels = static_cast<std::size_t>(transform.channels);
  if (transform.mean.size() != channels || transform.std.size() != channels) {
    refuse(fmt::format("normalize_mean and normalize_std must have {} numbers, not {} and {}",
                       channels, transform.mean.size(), transform.std.size()));
  }
  if (std::any_of(transform.std.begin(), transform.std.end(), [](double s) { return !(s > 0); })) {
    refuse("normalize_std must be above 0");
  }
  if (transform.resize_size != 0 && transform.resize_size < transform.size) {
    refuse(fmt::format("val_resize_size must be 0 or at least image_size, {}, not {}",
                       transform.size, transform.resize_size));
  }
}

/// Whether something is done between the view and the normalisation, which are else one step.
bool changes_colours(const ImageTransform& transform) {
  return transform.rand_augment_ops > 0 ||
         std::ranges::any_of(transform.color_jitter, [](double strength) { return strength > 0; });
}

ViewRule view_rule(const ImageTransform& transform) {
  return {.size = static_cast<int>(transform.size),
          .resize_size = static_cast<int>(transform.resize_size),
          .augmentation = transform.augmentation,
          .crop_area = transform.crop_area,
          .crop_ratio = transform.crop_ratio};
}

}  // namespace

ImageDecoder::ImageDecoder(ImageTransform transform, std::int64_t max_pixels)
    : transform_(std::move(transform)), max_pixels_(max_pixels) {
  check(transform_);
  for (std::size_t c = 0; c < transform_.mean.size(); ++c) {
    scale_.push_back(static_cast<float>(1.0 / (255.0 * transform_.std[c])));
    offset_.push_back(static_cast<float>(-transform_.mean[c] / transform_.std[c]));
    to_one_.push_back(1.0f / 255.0f);
    zero_.push_back(0.0f);
  }
}

std::size_t ImageDecoder::floats() const {
  return static_cast<std::size_t>(transform_.channels * transform_.size * transform_.size);
}

void ImageDecoder::decode(std::span<const std::byte> bytes, std::uint64_t random_key,
                          float* out) const {
  const std::unique_ptr<EncodedImage> image = open_image(bytes, max_pixels_);
  const Orientation turned = image->orientation();
  const int width = turned.transposed ? image->height() : image->width();
  const int height = turned.transposed ? image->width() : image->height();
  const ChosenTransform chosen = choose_transform(transform_, width, height, random_key);
  const View& view = chosen.view;
  const int denominator = transform_.scaled_decode && image->reduces() ? denominator_for(view) : 1;

  Axis x = stored_axis({.begin = view.left,
                        .length = view.width,
                        .source = width,
                        .resized = view.resized_width,
                        .window = view.window_left,
                        .shift = view.shift_x,
                        .mirrored = view.mirrored,
                        .reversed = turned.reversed_x},
                       denominator, size());
  Axis y = stored_axis({.begin = view.top,
                        .length = view.height,
                        .source = height,
                        .resized = view.resized_height,
                        .window = view.window_top,
                        .shift = view.shift_y,
                        .mirrored = false,
                        .reversed = turned.reversed_y},
                       denominator, size());
  if (turned.transposed) std::swap(x, y);
  const Pixels pixels =
      image->read(channels(), denominator, Rectangle{x.first, y.first, x.last, y.last});
  const bool on_colours = changes_colours(transform_);
  resample(pixels, x, y, on_colours ? to_one_ : scale_, on_colours ? zero_ : offset_, out);
  if (turned.transposed) transpose(out, channels(), size());
  const Planes planes = {.data = out, .channels = channels(), .height = size(), .width = size()};
  if (on_colours) {
    apply(chosen.jitter, planes);
    for (const AugmentOp& op : chosen.ops) apply(op, planes);
    normalise(planes);
  }
  if (chosen.erased) erase(planes, *chosen.erased);
}

/// From [0, 1].
void ImageDecoder::normalise(Planes planes) const {
  for (int c = 0; c < planes.channels; ++c) {
    const float scale = scale_[static_cast<std::size_t>(c)] * 255.0f;
    const float offset = offset_[static_cast<std::size_t>(c)];
    for (float& value : planes.plane(c)) value = value * scale + offset;
  }
}

ChosenTransform choose_transform(const ImageTransform& transform, int width, int height,
                                 std::uint64_t random_key) {
  enum Chance : std::uint64_t { kJitter = 1, kOps, kErased };
  const int size = static_cast<int>(transform.size);
  Random view{random_key};
  Random jitter{random_key, kJitter};
  Random ops{random_key, kOps};
  Random erased{random_key, kErased};
  return {.view = choose_view(width, height, view_rule(transform), view),
          .jitter = choose_color_jitter(transform.color_jitter, jitter),
          .ops = choose_rand_augment(static_cast<int>(transform.rand_augment_ops),
                                     static_cast<int>(transform.rand_augment_magnitude), size, size,
                                     ops),
          .erased = choose_erased(transform.erase_probability, size, size, erased)};
}

}  // namespace musher

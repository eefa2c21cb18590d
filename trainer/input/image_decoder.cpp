#include "trainer/input/image_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"
#include "trainer/input/jpeg_image.h"
#include "trainer/input/png_image.h"
#include "trainer/input/resample.h"
#include "trainer/input/view.h"

namespace musher {
namespace {

enum class Format { kJpeg, kPng, kWebp, kUnknown };

Format format_of(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with("\xff\xd8\xff")) return Format::kJpeg;
  if (text.starts_with("\x89PNG\r\n\x1a\n")) return Format::kPng;
  if (text.starts_with("RIFF") && text.substr(0, 12).ends_with("WEBP")) return Format::kWebp;
  return Format::kUnknown;
}

/// The axes of a view of a picture that was reduced by `denominator` to `width` × `height`.
std::pair<Axis, Axis> axes_of(const View& view, int width, int height, int denominator, int size) {
  const double reduce = 1.0 / denominator;
  AxisMap x;
  x.begin = view.left * reduce;
  x.end = (view.left + view.width) * reduce;
  x.source = width;
  x.resized = view.resized_width;
  x.window = view.window_left;
  x.shift = view.shift_x;
  x.mirrored = view.mirrored;
  x.size = size;
  AxisMap y;
  y.begin = view.top * reduce;
  y.end = (view.top + view.height) * reduce;
  y.source = height;
  y.resized = view.resized_height;
  y.window = view.window_top;
  y.shift = view.shift_y;
  y.size = size;
  return {make_axis(x), make_axis(y)};
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

std::vector<double> or_default(const std::vector<double>& given, std::int64_t channels,
                               std::array<double, 3> colour, double grey) {
  if (!given.empty()) return given;
  if (channels == 1) return {grey};
  return {colour.begin(), colour.end()};
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
}

class ImageDecoder final : public SampleDecoder {
 public:
  explicit ImageDecoder(ImageTransform transform) : transform_(std::move(transform)) {
    check(transform_);
    for (std::size_t c = 0; c < transform_.mean.size(); ++c) {
      scale_.push_back(static_cast<float>(1.0 / (255.0 * transform_.std[c])));
      offset_.push_back(static_cast<float>(-transform_.mean[c] / transform_.std[c]));
    }
  }

  std::vector<std::int64_t> input_shape() const override {
    return {transform_.channels, transform_.size, transform_.size};
  }

  void decode(std::span<const std::byte> bytes, std::uint64_t random_key,
              float* out) const override {
    switch (format_of(bytes)) {
      case Format::kJpeg:
        return decode_jpeg(bytes, random_key, out);
      case Format::kPng:
        return decode_png(bytes, random_key, out);
      case Format::kWebp:
        throw Error(ErrorCode::kDataLoss, "WebP is not supported yet; use JPEG or PNG");
      case Format::kUnknown:
        throw Error(ErrorCode::kDataLoss, "neither JPEG nor PNG by its first bytes");
    }
  }

 private:
  int size() const { return static_cast<int>(transform_.size); }
  int channels() const { return static_cast<int>(transform_.channels); }

  View view_of(int width, int height, std::uint64_t random_key) const {
    Random random{random_key};
    return choose_view(width, height, size(), transform_.augmentation, random);
  }

  void decode_jpeg(std::span<const std::byte> bytes, std::uint64_t random_key, float* out) const {
    JpegImage image(bytes);
    const View view = view_of(image.width(), image.height(), random_key);
    const int denominator = denominator_for(view);
    const auto reduced = [&](int length) { return (length + denominator - 1) / denominator; };
    const auto [x, y] =
        axes_of(view, reduced(image.width()), reduced(image.height()), denominator, size());
    const Pixels pixels =
        image.read(channels(), denominator, Rectangle{x.first, y.first, x.last, y.last});
    resample(pixels, x, y, scale_, offset_, out);
  }

  void decode_png(std::span<const std::byte> bytes, std::uint64_t random_key, float* out) const {
    PngImage image(bytes);
    const View view = view_of(image.width(), image.height(), random_key);
    const auto [x, y] = axes_of(view, image.width(), image.height(), 1, size());
    resample(image.read(channels()), x, y, scale_, offset_, out);
  }

  ImageTransform transform_;
  std::vector<float> scale_;  // value in [0, 255] × scale + offset is the normalised one
  std::vector<float> offset_;
};

}  // namespace

ImageTransform train_transform(const Hyperparameters& hyperparameters) {
  ImageTransform transform = evaluation_transform(hyperparameters);
  transform.augmentation = hyperparameters.augmentation;
  return transform;
}

ImageTransform evaluation_transform(const Hyperparameters& hyperparameters) {
  ImageTransform transform;
  transform.size = hyperparameters.image_size;
  transform.channels = hyperparameters.image_channels;
  transform.mean =
      or_default(hyperparameters.normalize_mean, transform.channels, {0.485, 0.456, 0.406}, 0.5);
  transform.std =
      or_default(hyperparameters.normalize_std, transform.channels, {0.229, 0.224, 0.225}, 0.5);
  transform.augmentation = Augmentation::kNone;
  return transform;
}

std::unique_ptr<SampleDecoder> make_image_decoder(ImageTransform transform) {
  return std::make_unique<ImageDecoder>(std::move(transform));
}

}  // namespace musher

#include "trainer/input/image_samples.h"

#include <algorithm>
#include <array>
#include <utility>

namespace musher {
namespace {

std::vector<double> or_default(const std::vector<double>& given, std::int64_t channels,
                               std::array<double, 3> colour, double grey) {
  if (!given.empty()) return given;
  if (channels == 1) return {grey};
  return {colour.begin(), colour.end()};
}

class ImageSamples final : public SampleDecoder {
 public:
  explicit ImageSamples(ImageTransform transform) : decoder_(std::move(transform)) {}

  std::vector<std::int64_t> input_shape() const override {
    return {decoder_.channels(), decoder_.size(), decoder_.size()};
  }
  void decode(const Sample&, std::span<const std::byte> bytes, std::uint64_t random_key,
              float* out) const override {
    decoder_.decode(bytes, random_key, out);
  }

 private:
  ImageDecoder decoder_;
};

}  // namespace

ImageTransform train_transform(const Hyperparameters& hyperparameters) {
  ImageTransform transform = evaluation_transform(hyperparameters);
  const Hyperparameters& h = hyperparameters;
  transform.augmentation = h.augmentation;
  std::ranges::copy(h.random_resized_crop_scale, transform.crop_area.begin());
  std::ranges::copy(h.random_resized_crop_ratio, transform.crop_ratio.begin());
  std::ranges::copy(h.color_jitter, transform.color_jitter.begin());
  transform.rand_augment_ops = h.rand_augment_num_ops;
  transform.rand_augment_magnitude = h.rand_augment_magnitude;
  transform.erase_probability = h.random_erasing;
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
  transform.resize_size = hyperparameters.val_resize_size;
  transform.scaled_decode = hyperparameters.jpeg_scaled_decode;
  return transform;
}

std::unique_ptr<SampleDecoder> make_image_decoder(ImageTransform transform) {
  return std::make_unique<ImageSamples>(std::move(transform));
}

}  // namespace musher

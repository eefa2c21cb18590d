#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "image/augment.h"
#include "image/pixels.h"
#include "image/view.h"
#include "job/job.h"

namespace musher {

/// What is done to an image between its bytes and the model; written to preprocessing.json as it
/// is.
struct ImageTransform {
  std::int64_t size = 224;    ///< height and width of the result
  std::int64_t channels = 3;  ///< 1: grey, 3: RGB
  std::vector<double> mean;   ///< per channel, of values in [0, 1]
  std::vector<double> std;
  bool scaled_decode = true;     ///< reduce a large JPEG while it is decoded
  std::int64_t resize_size = 0;  ///< see ViewRule
  Augmentation augmentation = Augmentation::kNone;
  std::array<double, 2> crop_area = {0.08, 1.0};  ///< see ViewRule
  std::array<double, 2> crop_ratio = {3.0 / 4.0, 4.0 / 3.0};
  std::array<double, 4> color_jitter = {};  ///< strengths: see choose_color_jitter
  std::int64_t rand_augment_ops = 0;
  std::int64_t rand_augment_magnitude = 9;  ///< of 0 to 30
  double erase_probability = 0;
};

/// All that chance decides about one picture. It is then done in this order: view, jitter, ops,
/// normalisation, erasing.
struct ChosenTransform {
  View view;
  ColorJitter jitter;
  std::vector<AugmentOp> ops;
  std::optional<Rectangle> erased;
};

/// A pure function: what `random_key` (SampleDecoder) decides about a picture of this size. Each
/// kind of choice has chance of its own, so that one can be added without another's changing.
ChosenTransform choose_transform(const ImageTransform& transform, int width, int height,
                                 std::uint64_t random_key);

/// JPEG, PNG and WebP files (image/encoded_image.h) to float [channels, size, size], normalised. A
/// picture is turned as its EXIF orientation says before anything else is done to it. Training,
/// evaluation and serving all go through here, so that a model is given the same numbers.
/// Immutable: any number of threads at once.
class ImageDecoder {
 public:
  /// kInvalidArgument for a transform that can't be, naming its hyperparameter.
  /// Pictures of more than `max_pixels` can't be decoded.
  explicit ImageDecoder(ImageTransform transform, std::int64_t max_pixels = kMaxPixels);

  const ImageTransform& transform() const { return transform_; }
  int size() const { return static_cast<int>(transform_.size); }
  int channels() const { return static_cast<int>(transform_.channels); }
  /// Of one picture's floats.
  std::size_t floats() const;

  /// Writes floats() numbers to `out`. kDataLoss where the bytes can't be decoded. `random_key` is
  /// the only source of chance, and means nothing without augmentation.
  void decode(std::span<const std::byte> bytes, std::uint64_t random_key, float* out) const;

 private:
  void normalise(Planes planes) const;

  ImageTransform transform_;
  std::int64_t max_pixels_;
  std::vector<float> scale_;  // value in [0, 255] × scale + offset is the normalised one
  std::vector<float> offset_;
  std::vector<float> to_one_;  // the same two, for values in [0, 1]
  std::vector<float> zero_;
};

}  // namespace musher

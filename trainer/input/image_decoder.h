#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "job/job.h"
#include "trainer/input/augment.h"
#include "trainer/input/pipeline.h"
#include "trainer/input/view.h"

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

/// The transform of a job in training, and in evaluation (no augmentation).
ImageTransform train_transform(const Hyperparameters& hyperparameters);
ImageTransform evaluation_transform(const Hyperparameters& hyperparameters);

/// JPEG, PNG and WebP files (trainer/input/encoded_image.h) to float [channels, size, size],
/// normalised. A picture is turned as its EXIF orientation says before anything else is done to it.
std::unique_ptr<SampleDecoder> make_image_decoder(ImageTransform transform);

}  // namespace musher

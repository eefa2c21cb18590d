#pragma once

#include <memory>
#include <vector>

#include "job/job.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// What is done to an image between its bytes and the model; written to preprocessing.json as it
/// is.
struct ImageTransform {
  std::int64_t size = 224;    ///< height and width of the result
  std::int64_t channels = 3;  ///< 1: grey, 3: RGB
  std::vector<double> mean;   ///< per channel, of values in [0, 1]
  std::vector<double> std;
  Augmentation augmentation = Augmentation::kNone;
};

/// The transform of a job in training, and in evaluation (no augmentation).
ImageTransform train_transform(const Hyperparameters& hyperparameters);
ImageTransform evaluation_transform(const Hyperparameters& hyperparameters);

/// JPEG, PNG and WebP files (trainer/input/encoded_image.h) to float [channels, size, size],
/// normalised. A picture is turned as its EXIF orientation says before anything else is done to it.
std::unique_ptr<SampleDecoder> make_image_decoder(ImageTransform transform);

}  // namespace musher

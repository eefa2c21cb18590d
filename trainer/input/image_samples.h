#pragma once

#include <memory>

#include "image/image_decoder.h"
#include "job/job.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// The transform of a job in training, and in evaluation (no augmentation).
ImageTransform train_transform(const Hyperparameters& hyperparameters);
ImageTransform evaluation_transform(const Hyperparameters& hyperparameters);

/// image/image_decoder.h for the pipeline: samples of shape [channels, size, size].
std::unique_ptr<SampleDecoder> make_image_decoder(ImageTransform transform);

}  // namespace musher

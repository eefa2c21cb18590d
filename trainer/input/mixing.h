#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/random.h"
#include "image/pixels.h"
#include "trainer/input/batch.h"

namespace musher {

/// Which mixtures a job makes; 0 is none. With both, each part of a batch gets one of the two, as
/// likely.
struct MixOptions {
  double mixup_alpha = 0;   ///< Zhang et al. 2018
  double cutmix_alpha = 0;  ///< Yun et al. 2019

  bool any() const { return mixup_alpha > 0 || cutmix_alpha > 0; }
};

/// How each sample of a part is mixed with the one before it, the first with the last, as
/// torchvision.transforms.v2.MixUp and CutMix do with a batch.
struct Mix {
  double share = 1;  ///< of the sample's own label; of its pixels too, unless there is a box
  std::optional<Rectangle> box;  ///< CutMix: these pixels come from the other sample
};

/// `share` is from Beta(alpha, alpha); a box covers 1 - share of a random place, and the share is
/// then what is outside of it. REQUIRES: options.any(); for a box, the shape of a picture.
Mix choose_mix(const MixOptions& options, int height, int width, Random& random);

/// Mixes samples [begin, end) of the batch among themselves, inputs and targets; a part of one
/// sample stays as it is.
void mix(Batch& batch, std::size_t begin, std::size_t end, const Mix& how);

/// Beta(alpha, alpha) in [0, 1]. REQUIRES: alpha > 0.
double beta_sample(double alpha, Random& random);

}  // namespace musher

#pragma once

#include <array>

#include "common/random.h"
#include "job/job.h"

namespace musher {

/// Which part of a picture becomes the model's input, in pixels. The picture is cut to the box, the
/// box is resized, and of that a window of size × size is taken, which may then be shifted (what
/// comes in from outside is black) and mirrored.
struct View {
  int left = 0;  ///< the box, in the picture
  int top = 0;
  int width = 0;
  int height = 0;
  int resized_width = 0;  ///< what the box is resized to
  int resized_height = 0;
  int window_left = 0;  ///< the window, in the resized box
  int window_top = 0;
  int shift_x = 0;  ///< result(x, y) is window(x + shift_x, y + shift_y)
  int shift_y = 0;
  bool mirrored = false;  ///< left to right, after the shift
};

/// What views are chosen by.
struct ViewRule {
  int size = 224;
  /// Evaluation: what the shorter side is resized to before the middle is taken; at least `size`.
  /// 0: 256/224 of the size from 64 on; smaller sizes are resized as they are, because tiny
  /// pictures are made at the size they are used at.
  int resize_size = 0;
  Augmentation augmentation = Augmentation::kNone;
  std::array<double, 2> crop_area = {0.08, 1.0};  ///< of kRandomResizedCrop: share of the picture
  std::array<double, 2> crop_ratio = {3.0 / 4.0, 4.0 / 3.0};  ///< width / height
};

/// torchvision's Resize and CenterCrop.
View evaluation_view(int width, int height, const ViewRule& rule);

/// The view that the rule's augmentation draws: the same numbers from torchvision's recipes, from
/// `random` alone. kRandomResizedCrop: Szegedy et al. 2015. kCropFlip: a shift of up to an eighth
/// of the size (He et al. 2016, for CIFAR).
View choose_view(int width, int height, const ViewRule& rule, Random& random);

}  // namespace musher

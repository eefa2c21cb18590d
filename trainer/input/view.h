#pragma once

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

/// Evaluation: from size 64 on the shorter side becomes 256/224 of the size and the middle is
/// taken; smaller sizes are resized as they are, because tiny pictures are made at the size they
/// are used at.
View evaluation_view(int width, int height, int size);

/// The view that `augmentation` draws: the same numbers from torchvision's recipes, from `random`
/// alone. kRandomResizedCrop: an area of 8 % to 100 % of the picture, aspect ratio 3/4 to 4/3
/// (Szegedy et al. 2015). kCropFlip: a shift of up to an eighth of the size (He et al. 2016, for
/// CIFAR).
View choose_view(int width, int height, int size, Augmentation augmentation, Random& random);

}  // namespace musher

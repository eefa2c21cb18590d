#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace musher {

/// What a loss in fp16 is multiplied by, so that small gradients do not vanish (Micikevicius et
/// al., "Mixed precision training", 2018). A value, the same on every rank.
struct LossScale {
  double scale = 0;             ///< 0: the loss is not scaled
  std::int64_t good_steps = 0;  ///< in a row, since it last changed

  bool operator==(const LossScale&) const = default;
};

/// After a step, as torch.amp.GradScaler has it: half of it after a gradient that was not `finite`,
/// twice of it after `growth_interval` steps in a row that were.
LossScale next_loss_scale(LossScale scale, bool finite, std::int64_t growth_interval);

/// Divides `gradients` (float32) by `factor` in place. False where one of them is not finite: then
/// what is in them is of no worth.
bool unscale(const at::Tensor& gradients, double factor);

}  // namespace musher

#include "trainer/loss_scale.h"

#include <limits>

#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

namespace musher {

LossScale next_loss_scale(LossScale scale, bool finite, std::int64_t growth_interval) {
  constexpr double kGrowth = 2;
  if (!finite) return {scale.scale / kGrowth, 0};
  if (scale.good_steps + 1 < growth_interval) return {scale.scale, scale.good_steps + 1};
  const double more = scale.scale * kGrowth;
  return {more <= std::numeric_limits<float>::max() ? more : scale.scale, 0};
}

bool unscale(const at::Tensor& gradients, double factor) {
  at::Tensor not_finite = at::zeros({1}, gradients.options());
  const at::Tensor inverse = at::full({1}, 1 / factor, gradients.options());
  at::_amp_foreach_non_finite_check_and_unscale_({gradients}, not_finite, inverse);
  return not_finite.item<float>() == 0;
}

}  // namespace musher

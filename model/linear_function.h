#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "model/gradient_places.h"

namespace musher {

/// at::linear(x, weight, bias) for x [N, in], with autograd. On a CPU large float32 layers run
/// oneDNN's kernels instead of MKL's, which were measured to take a third longer on AMD. The
/// gradient of `weight` goes to the place that `places` offers for it. Under Autocast it is
/// LibTorch's.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  const std::shared_ptr<GradientPlaces>& places);

}  // namespace musher

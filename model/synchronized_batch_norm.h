#pragma once

#include <ATen/core/Tensor.h>

#include "model/model.h"

namespace musher {

/// Batch-norm in training over the batches of all ranks together, with autograd, as
/// torch.nn.SyncBatchNorm: `sum` is asked once in forward (a channel's sum, sum of squares and
/// count) and once in backward (two sums). `x` is [N, C, …] and N may be 0; float32, or bf16 and
/// fp16, in which case the arithmetic is float32. The gradients of `weight` and `bias` are those of
/// this rank's samples. `running_mean` and `running_var` are moved on, or both undefined.
at::Tensor synchronized_batch_norm(const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& bias, at::Tensor running_mean,
                                   at::Tensor running_var, double momentum, double epsilon,
                                   const SumOverRanks& sum);

}  // namespace musher

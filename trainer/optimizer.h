#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "job/job.h"
#include "trainer/flat_parameters.h"

namespace musher {

/// SGD with momentum or AdamW over the flat buffers: one pass of LibTorch's fused kernel a step.
/// Numbers equal torch.optim's.
class Optimizer {
 public:
  /// `parameters` must outlive it.
  Optimizer(const Hyperparameters& hyperparameters, FlatParameters& parameters);

  /// values -= update(gradients / divisor). `divisor`: float32 scalar tensor on the parameters'
  /// device, the number of samples that the gradients are the sum of; the kernel divides as it
  /// reads.
  void step(double learning_rate, const at::Tensor& divisor);

  /// Its state beside the values, for checkpoints: flat tensors of the values' size, in a fixed
  /// order, written to in place.
  std::vector<std::pair<std::string, at::Tensor>> state();
  /// Steps done so far (AdamW's bias correction).
  std::int64_t steps() const;
  void set_steps(std::int64_t steps);

 private:
  OptimizerKind kind_;
  double momentum_;
  double weight_decay_;
  FlatParameters& parameters_;
  at::Tensor momentum_buffer_;
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
  at::Tensor step_count_;
};

}  // namespace musher

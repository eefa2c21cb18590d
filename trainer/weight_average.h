#pragma once

#include <ATen/core/Tensor.h>

#include "model/model.h"
#include "trainer/flat_parameters.h"

namespace musher {

/// The exponential moving average of a model's weights and floating-point buffers (Polyak and
/// Juditsky, "Acceleration of stochastic approximation by averaging", 1992), as torch's
/// AveragedModel with get_ema_multi_avg_fn(decay) and use_buffers: after the first step it is the
/// weights, after each later one decay · average + (1 - decay) · weights. The weights' average is
/// the same on every rank, the buffers' is a rank's own, as the buffers are. Not thread-safe.
class WeightAverage {
 public:
  /// Both must outlive it. `decay` in (0, 1).
  WeightAverage(FlatParameters& parameters, Model& model, double decay);

  /// Call after each optimizer step; `first`: of the training.
  void update(bool first);

  const at::Tensor& values() const { return values_; }      ///< [parameters.size()] float32
  const NamedTensors& buffers() const { return buffers_; }  ///< by the model's names

  /// The model's weights and buffers change places with their averages; again, and all is as
  /// before.
  void exchange();

 private:
  FlatParameters& parameters_;
  NamedTensors of_model_;
  double decay_;
  at::Tensor values_;
  NamedTensors buffers_;
};

/// While it lives the model has the averages of its weights and buffers, for evaluation and the
/// artifact.
class UsingAverage {
 public:
  /// `average` may be null: then the model stays as it is.
  explicit UsingAverage(WeightAverage* average) : average_(average) {
    if (average_ != nullptr) average_->exchange();
  }
  ~UsingAverage() {
    if (average_ != nullptr) average_->exchange();
  }
  UsingAverage(const UsingAverage&) = delete;
  UsingAverage& operator=(const UsingAverage&) = delete;

 private:
  WeightAverage* average_;
};

}  // namespace musher

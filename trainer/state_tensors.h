#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "trainer/flat_parameters.h"
#include "trainer/optimizer.h"
#include "trainer/weight_average.h"

namespace musher {

/// The tensors of a rank's state, by the names that checkpoints have for them, in a fixed order.
/// They are the training's own: writing to one changes it.
struct StateTensors {
  NamedTensors flat;  ///< of FlatParameters::size() elements of float32, the same on every rank
  NamedTensors own;   ///< the model's buffers, which each rank has its own of
};

/// `average` may be null.
StateTensors state_tensors(const FlatParameters& parameters, Optimizer& optimizer, Model& model,
                           const WeightAverage* average = nullptr);

}  // namespace musher

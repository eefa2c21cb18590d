#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/added_models.h"
#include "model/model.h"

namespace musher {

/// What a model that is not Musher's own is tried with, once, before anything relies on it.
struct ModelTrial {
  at::Tensor inputs;                  ///< [2, …]: two samples, as the job's task gives them
  std::vector<std::int64_t> outputs;  ///< [2, …]: shape of what the model must return for them
};

/// For inputs that are numbers: zeros [2, input_shape…] float32 → [2, classes].
ModelTrial trial_of(const ModelSpec& spec);

/// make_model() of a spec and the program's own models, these tried with `trial`.
std::unique_ptr<Model> make_model(const ModelSpec& spec, const AddedModels& added,
                                  const ModelTrial& trial);

}  // namespace musher

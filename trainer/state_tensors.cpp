#include "trainer/state_tensors.h"

namespace musher {

StateTensors state_tensors(const FlatParameters& parameters, Optimizer& optimizer, Model& model,
                           const WeightAverage* average) {
  StateTensors tensors;
  tensors.flat = optimizer.state();
  tensors.flat.emplace_back("values", parameters.values());
  for (const auto& [name, buffer] : model.buffers())
    tensors.own.emplace_back("buffer." + name, buffer);
  if (average == nullptr) return tensors;
  tensors.flat.emplace_back("average", average->values());
  for (const auto& [name, buffer] : average->buffers())
    tensors.own.emplace_back("average." + name, buffer);
  return tensors;
}

}  // namespace musher

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/trial.h"

namespace musher {

/// A user's TorchScript file. It runs without the optimising executor, so that each step computes
/// the same way from the first on: a resumed run must end bit-identical, and the optimiser would
/// specialise only after some steps. kInvalidArgument naming the file and, in one line, what is
/// wrong: not TorchScript, no parameters to train, a forward that fails for the trial's inputs or
/// returns something else for them.
std::unique_ptr<Model> load_torchscript(const std::string& path, const ModelTrial& trial);

/// The same model for evaluation alone, faster: frozen, batch-norm folded into the convolutions
/// before it, and these run by oneDNN in its own layout, as torch.jit.optimize_for_inference does.
/// Its outputs differ by rounding, which is checked with a batch of this shape. Null where the
/// model is not TorchScript, or is such that it can't be frozen, e.g. its forward writes to itself:
/// then there is nothing to do but to use it as it is.
std::unique_ptr<Model> optimize_for_inference(Model& model,
                                              const std::vector<std::int64_t>& input_shape);

}  // namespace musher

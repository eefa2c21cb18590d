#pragma once

#include <memory>
#include <string>

#include "model/model.h"

namespace musher {

/// A user's TorchScript file. It runs without the optimising executor, so that each step computes
/// the same way from the first on: a resumed run must end bit-identical, and the optimiser would
/// specialise only after some steps. kInvalidArgument naming the file and, in one line, what is
/// wrong: not TorchScript, no parameters to train, a forward that fails for [2, input_shape…] or
/// does not return [2, classes].
std::unique_ptr<Model> load_torchscript(const std::string& path, const ModelSpec& spec);

}  // namespace musher

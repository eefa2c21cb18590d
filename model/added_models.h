#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace musher {

class Model;
struct ModelSpec;

/// Makes a model with fresh weights, the same on every rank: a function of the spec alone. Throws
/// Error(kInvalidArgument) for a spec that does not suit the model.
using ModelMaker = std::function<std::unique_ptr<Model>(const ModelSpec&)>;

/// Models that a program adds to Musher's own. A job asks for the one under NAME by the
/// hyperparameter `model`, as "custom:NAME": 1 to 63 letters, digits, '-', '_' and '.'.
using AddedModels = std::map<std::string, ModelMaker>;

/// What a custom model's name begins with.
inline constexpr const char* kCustomModelPrefix = "custom:";

/// make_model() with a program's own models beside Musher's. kInvalidArgument for a name of
/// neither, and for an added model that has no parameters, gives two tensors one name or does not
/// return [N, classes], which is tried once with one sample of zeros in evaluation mode.
std::unique_ptr<Model> make_model(const ModelSpec& spec, const AddedModels& added);

}  // namespace musher

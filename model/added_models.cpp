#include "model/added_models.h"

#include <set>
#include <string_view>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "model/trial.h"

namespace musher {
namespace {

[[noreturn]] void refuse(const ModelSpec& spec, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("model {}: {}", spec.name, why));
}

const ModelMaker& find(const ModelSpec& spec, const AddedModels& added) {
  const std::string name = spec.name.substr(std::string_view(kCustomModelPrefix).size());
  const auto found = added.find(name);
  if (found != added.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, maker] : added) names.push_back(kCustomModelPrefix + known);
  refuse(spec, names.empty()
                   ? "this program has no models of its own; give the one that has by --trainer"
                   : fmt::format("this program's own models are {}", fmt::join(names, ", ")));
}

void require_distinct_names(const ModelSpec& spec, Model& model) {
  std::set<std::string> names;
  const auto take = [&](const NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors) {
      if (!names.insert(name).second) refuse(spec, fmt::format("two tensors are called {}", name));
    }
  };
  take(model.parameters());
  if (names.empty()) refuse(spec, "it must have parameters");
  take(model.buffers());
}

void require_logits(const ModelSpec& spec, Model& model, const ModelTrial& trial) {
  const at::NoGradGuard no_grad;
  model.train(false);
  at::Tensor logits;
  try {
    logits = model.forward(trial.inputs.narrow(0, 0, 1));
  } catch (const c10::Error& error) {
    refuse(spec, fmt::format("it can't take a sample of [{}]: {}",
                             fmt::join(spec.input_shape, ", "), error.what_without_backtrace()));
  }
  model.train(true);
  const auto of_sample = at::IntArrayRef(trial.outputs).slice(1);
  if (logits.dim() == 0 || logits.size(0) != 1 || logits.sizes().slice(1) != of_sample) {
    refuse(spec, fmt::format("it must return [N, {}], but returns [{}] for one sample",
                             fmt::join(of_sample, ", "), fmt::join(logits.sizes(), ", ")));
  }
}

}  // namespace

ModelTrial trial_of(const ModelSpec& spec) {
  std::vector<std::int64_t> shape = {2};
  shape.insert(shape.end(), spec.input_shape.begin(), spec.input_shape.end());
  return {at::zeros(shape, at::kFloat), {2, spec.classes}};
}

std::unique_ptr<Model> make_model(const ModelSpec& spec, const AddedModels& added) {
  return make_model(spec, added, trial_of(spec));
}

std::unique_ptr<Model> make_model(const ModelSpec& spec, const AddedModels& added,
                                  const ModelTrial& trial) {
  if (!spec.name.starts_with(kCustomModelPrefix)) return make_model(spec);
  const ModelMaker& maker = find(spec, added);
  if (spec.classes < 1)
    refuse(spec, fmt::format("classes must be at least 1, not {}", spec.classes));
  auto model = maker(spec);
  if (!model) refuse(spec, "its maker returned none");
  require_distinct_names(spec, *model);
  require_logits(spec, *model, trial);
  return model;
}

}  // namespace musher

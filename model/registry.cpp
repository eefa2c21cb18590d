#include <filesystem>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "common/error.h"
#include "model/added_models.h"
#include "model/convnet.h"
#include "model/gpt.h"
#include "model/model.h"
#include "model/multilayer_perceptron.h"
#include "model/resnet.h"
#include "model/torchscript.h"

namespace musher {

void Model::freeze_backbone() {
  throw Error(ErrorCode::kInvalidArgument,
              "freeze_backbone needs a built-in model, of which it is known where the head begins");
}

void Model::synchronize_batch_norm(SumOverRanks) {
  throw Error(
      ErrorCode::kInvalidArgument,
      "sync_batch_norm is for resnet18, resnet34 and resnet50: the model has no batch-norm, "
      "or one that only TorchScript knows");
}

at::Tensor Model::features(const at::Tensor&) {
  throw Error(ErrorCode::kInternal, "features: it is not known where the model's head begins");
}

at::Tensor Model::head(const at::Tensor&) {
  throw Error(ErrorCode::kInternal, "head: it is not known where the model's head begins");
}

std::unique_ptr<Model> make_model(const ModelSpec& spec) {
  if (spec.classes < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("num_classes must be at least 1, not {}", spec.classes));
  }
  const std::string_view name = spec.name;
  if (!spec.head_widths.empty() && !name.starts_with("resnet")) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("head_widths is for resnet18, resnet34 and resnet50, not for {}", name));
  }
  if (spec.activation_checkpointing && !name.starts_with("resnet")) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("activation_checkpointing is for resnet18, resnet34 and resnet50, not "
                            "for {}",
                            name));
  }
  if (name == "convnet") return std::make_unique<ConvNet>(spec);
  if (name == "resnet18") return std::make_unique<ResNet>(spec, 18);
  if (name == "resnet34") return std::make_unique<ResNet>(spec, 34);
  if (name == "resnet50") return std::make_unique<ResNet>(spec, 50);
  if (name == "multilayer_perceptron" || name.starts_with("multilayer_perceptron:")) {
    return std::make_unique<MultilayerPerceptron>(spec, MultilayerPerceptron::hidden_widths(name));
  }
  if (name.starts_with("gpt:")) return std::make_unique<Gpt>(spec, Gpt::size_of(name));
  if (name.starts_with(kCustomModelPrefix)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("model {} is known to the program alone that adds it to Musher's", name));
  }
  std::error_code none;
  if (std::filesystem::is_regular_file(spec.name, none))
    return load_torchscript(spec.name, trial_of(spec));
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("model must be convnet, multilayer_perceptron, resnet18, resnet34, "
                          "resnet50, gpt:<layers>,<heads>,<width> or the path of "
                          "a TorchScript file, not \"{}\"",
                          spec.name));
}

}  // namespace musher

#include "common/error.h"
#include "job/hyperparameter_entry.h"
#include "job/nearest.h"

namespace musher {

using namespace hyperparameter_table;

namespace {

const std::vector<std::string>& built_in_models() {
  static const std::vector<std::string> names = {"convnet", "multilayer_perceptron", "resnet18",
                                                 "resnet34", "resnet50"};
  return names;
}

std::string uri_problem(const std::string& text) {
  try {
    Uri::parse(text);
    return {};
  } catch (const Error& e) {
    return e.what();
  }
}

std::string set_model(Hyperparameters& all, const std::string& text) {
  if (text.find("://") != std::string::npos) {
    if (std::string problem = uri_problem(text); !problem.empty()) return problem;
  } else {
    bool known = false;
    for (const std::string& name : built_in_models()) known = known || name == text;
    if (!known) {
      return fmt::format(
          "must be one of {} or the URI of a TorchScript file, not {}{}",
          fmt::join(built_in_models(), ", "), in_quotes(text),
          nearest(text, built_in_models()).empty() ? "" : suggestion(text, built_in_models()));
    }
  }
  all.model = text;
  return {};
}

std::string set_initial_weights(Hyperparameters& all, const std::string& text) {
  if (!text.empty()) {
    if (std::string problem = uri_problem(text); !problem.empty()) return problem;
  }
  all.initial_weights = text;
  return {};
}

}  // namespace

std::vector<HyperparameterEntry> model_hyperparameters() {
  return {
      {"model", "text", fmt::format("{}, or a URI", fmt::join(built_in_models(), ", ")), "resnet50",
       "a built-in model, or the URI of a TorchScript file", set_model},
      {"initial_weights", "URI", "s3:// or file://", "none: fresh, by seed",
       "weights to begin with: safetensors, TorchScript, or a state dict of torch.save()",
       set_initial_weights},
      choice<bool>("initial_weights_match", &H::match_by_name,
                   {{"strict", false}, {"by_name", true}},
                   "strict: all that the file and the model have; by_name: what they have in "
                   "common, and the log says what not"),
      flag("freeze_backbone", &H::freeze_backbone,
           "only the head is trained; needs initial_weights"),
      whole<std::int64_t>("feature_cache_bytes", &H::feature_cache_bytes, 0, std::int64_t{1} << 50,
                          "memory of each rank for what a frozen backbone makes of the samples, so "
                          "that each goes through it once; 0: none"),
      Entry{"head_widths", "numbers", "1 to 1000000 each, with commas between", "",
            "hidden layers of a resnet's head, such as 128: Linear, ReLU, Linear",
            [](H& all, const std::string& text) {
              return set_whole_numbers(all.head_widths, text, 1'000'000, /*ascending=*/false);
            }},
      flag("activation_checkpointing", &H::activation_checkpointing,
           "of a resnet: backward runs each residual block again, to use less memory"),
      flag("sync_batch_norm", &H::sync_batch_norm,
           "of a resnet: batch-norm takes its statistics over all ranks"),
      whole<std::int64_t>("num_classes", &H::num_classes, 0, 10'000'000,
                          "0: as many as the train channel has"),
  };
}

}  // namespace musher

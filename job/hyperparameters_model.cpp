#include <algorithm>
#include <string_view>

#include "common/error.h"
#include "job/hyperparameter_entry.h"
#include "job/nearest.h"

namespace musher {

using namespace hyperparameter_table;

namespace {

/// Of all tasks, each once.
const std::vector<std::string>& built_in_models() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const TaskInfo& task : tasks()) {
      for (const std::string& name : task.models) {
        if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
      }
    }
    return all;
  }();
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

/// Of a model that the trainer's own program adds: the coordinator knows no more than how it may be
/// called (model/added_models.h).
constexpr std::string_view kCustom = "custom:";

std::string custom_problem(std::string_view text) {
  const std::string_view name = text.substr(kCustom.size());
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (!name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), fits)) return {};
  return fmt::format("must be custom: and 1 to 63 letters, digits, '-', '_' or '.', not {}",
                     in_quotes(std::string(text)));
}

std::string set_model(Hyperparameters& all, const std::string& text) {
  if (text.find("://") != std::string::npos) {
    if (std::string problem = uri_problem(text); !problem.empty()) return problem;
  } else if (text.starts_with(kCustom)) {
    if (std::string problem = custom_problem(text); !problem.empty()) return problem;
  } else {
    bool known = false;
    for (const std::string& name : built_in_models()) known = known || name == text;
    if (!known) {
      return fmt::format(
          "must be one of {}, the URI of a TorchScript file, or custom:NAME, not {}{}",
          fmt::join(built_in_models(), ", "), in_quotes(text),
          nearest(text, built_in_models()).empty() ? "" : suggestion(text, built_in_models()));
    }
  }
  all.model = text;
  return {};
}

/// A URI, or nothing, into `member`.
auto set_uri(std::string H::*member) {
  return [member](H& all, const std::string& text) -> std::string {
    if (!text.empty()) {
      if (std::string problem = uri_problem(text); !problem.empty()) return problem;
    }
    all.*member = text;
    return {};
  };
}

}  // namespace

std::vector<HyperparameterEntry> model_hyperparameters() {
  const std::string by_task = fmt::format("{}; in other tasks {}", tasks()[0].model, [] {
    std::string others;
    for (const TaskInfo& task : tasks()) {
      if (task.kind != TaskKind::kImageClassification)
        others += fmt::format("{}{}", others.empty() ? "" : ", ", task.model);
    }
    return others;
  }());
  return {
      {"model", "text",
       fmt::format("{}, a URI, or custom:NAME", fmt::join(built_in_models(), ", ")), by_task,
       "a built-in model, the URI of a TorchScript file, or a model that the trainer's program "
       "adds",
       set_model},
      {"initial_weights", "URI", "s3:// or file://", "none: fresh, by seed",
       "weights to begin with: safetensors, TorchScript, or a state dict of torch.save()",
       set_uri(&H::initial_weights)},
      choice<bool>("initial_weights_match", &H::match_by_name,
                   {{"strict", false}, {"by_name", true}},
                   "strict: all that the file and the model have; by_name: what they have in "
                   "common, and the log says what not"),
      {"loss_module", "URI", "s3:// or file://", "none: the task's own loss",
       "a TorchScript module whose forward(outputs, targets) returns the loss, and metrics",
       set_uri(&H::loss_module)},
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
      Entry{"hidden_widths", "numbers", "1 to 1000000 each, with commas between", "512, 512",
            "hidden layers of a multilayer_perceptron, 16 at most",
            [](H& all, const std::string& text) -> std::string {
              std::string problem = set_whole_numbers(all.hidden_widths, text, 1'000'000, false);
              if (problem.empty() && all.hidden_widths.size() > 16)
                problem =
                    fmt::format("must be at most 16 numbers, not {}", all.hidden_widths.size());
              return problem;
            }},
      whole<std::int64_t>("gpt_layers", &H::gpt_layers, 1, 1000, "blocks of a gpt"),
      whole<std::int64_t>("gpt_heads", &H::gpt_heads, 1, 1000, "of attention in each of them"),
      whole<std::int64_t>("gpt_width", &H::gpt_width, 1, 1'000'000,
                          "numbers that a gpt has for each token; a multiple of gpt_heads"),
      flag("tied_embeddings", &H::tied_embeddings,
           "the weights of a gpt's head are those of its token embedding"),
      flag("activation_checkpointing", &H::activation_checkpointing,
           "of a resnet: backward runs each residual block again, to use less memory"),
      flag("sync_batch_norm", &H::sync_batch_norm,
           "of a resnet: batch-norm takes its statistics over all ranks"),
      whole<std::int64_t>("num_classes", &H::num_classes, 0, 10'000'000,
                          "0: as many as the train channel has"),
  };
}

}  // namespace musher

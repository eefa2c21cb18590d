#include "job/hyperparameters.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "job/limits.h"
#include "job/nearest.h"

namespace musher {
namespace {

/// One line of the table. `set` returns what is wrong with a value, or nothing.
struct Entry {
  std::string name;
  std::string type;
  std::string range;
  std::string standard;  ///< the default, as a person would write it
  std::string help;
  std::function<std::string(Hyperparameters&, const std::string&)> set;
};

template <typename T>
std::optional<T> number_from(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> real_from(std::string_view text) {
  const auto value = number_from<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

template <typename T>
Entry whole(std::string name, T Hyperparameters::*member, T min, T max, std::string help) {
  const std::string range = fmt::format("{} to {}", min, max);
  return {std::move(name),
          "whole number",
          range,
          fmt::format("{}", Hyperparameters{}.*member),
          std::move(help),
          [=](Hyperparameters& all, const std::string& text) -> std::string {
            const auto value = number_from<T>(text);
            if (!value || *value < min || *value > max) {
              return fmt::format("must be a whole number from {}, not {}", range, in_quotes(text));
            }
            all.*member = *value;
            return {};
          }};
}

/// [min, max], or (min, …, or …, max) where the bound itself is out.
struct Range {
  double min;
  double max;
  bool above = false;  ///< min itself is out
  bool below = false;  ///< max itself is out

  bool contains(double x) const {
    return (above ? x > min : x >= min) && (below ? x < max : x <= max);
  }
  std::string words() const {
    return fmt::format("{}{} {}{}", above ? "above " : "", min, below ? "to below " : "to ", max);
  }
};

Entry real(std::string name, double Hyperparameters::*member, Range range, std::string help) {
  return {std::move(name),
          "number",
          range.words(),
          fmt::format("{}", Hyperparameters{}.*member),
          std::move(help),
          [=](Hyperparameters& all, const std::string& text) -> std::string {
            const auto value = real_from(text);
            if (!value || !range.contains(*value)) {
              return fmt::format("must be a number from {}, not {}", range.words(),
                                 in_quotes(text));
            }
            all.*member = *value;
            return {};
          }};
}

template <typename E>
Entry choice(std::string name, E Hyperparameters::*member,
             std::vector<std::pair<std::string, E>> values, std::string help) {
  std::vector<std::string> names;
  std::string standard;
  for (const auto& [text, value] : values) {
    names.push_back(text);
    if (value == Hyperparameters{}.*member) standard = text;
  }
  const std::string range = fmt::format("{}", fmt::join(names, ", "));
  return {std::move(name),
          "one of",
          range,
          standard,
          std::move(help),
          [=](Hyperparameters& all, const std::string& text) -> std::string {
            for (const auto& [candidate, value] : values) {
              if (candidate != text) continue;
              all.*member = value;
              return {};
            }
            return fmt::format("must be one of {}, not {}", range, in_quotes(text));
          }};
}

/// How many numbers a list has, and how a person says so.
struct Count {
  std::size_t least;
  std::size_t most;
  std::string words;
};

Entry flag(std::string name, bool Hyperparameters::*member, std::string help) {
  return choice<bool>(std::move(name), member, {{"true", true}, {"false", false}}, std::move(help));
}

/// `0.5, 0.5, 0.5`, in brackets or not.
Entry reals(std::string name, std::vector<double> Hyperparameters::*member, Count count,
            Range range, std::string standard, std::string help) {
  return {std::move(name),
          "numbers",
          count.words + ", " + range.words(),
          std::move(standard),
          std::move(help),
          [=](Hyperparameters& all, const std::string& text) -> std::string {
            const std::string wrong =
                fmt::format("must be {}, with commas between, each {}, not {}", count.words,
                            range.words(), in_quotes(text));
            const bool brackets = text.starts_with('[');
            if (brackets && !text.ends_with(']')) return wrong;
            std::vector<double> values;
            std::string_view rest(text);
            if (brackets) rest = rest.substr(1, rest.size() - 2);
            while (true) {
              const std::size_t comma = std::min(rest.find(','), rest.size());
              std::string_view part = rest.substr(0, comma);
              while (part.starts_with(' ')) part.remove_prefix(1);
              while (part.ends_with(' ')) part.remove_suffix(1);
              const auto value = real_from(part);
              if (!value || !range.contains(*value)) return wrong;
              values.push_back(*value);
              if (comma == rest.size()) break;
              rest.remove_prefix(comma + 1);
            }
            if (values.size() < count.least || values.size() > count.most) return wrong;
            all.*member = std::move(values);
            return {};
          }};
}

/// The smallest and the greatest of something.
Entry interval(std::string name, std::vector<double> Hyperparameters::*member, Range range,
               std::string standard, std::string help) {
  return reals(std::move(name), member, {2, 2, "two numbers, the smaller first"}, range,
               std::move(standard), std::move(help));
}

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
    if (const std::string problem = uri_problem(text); !problem.empty()) return problem;
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
    if (const std::string problem = uri_problem(text); !problem.empty()) return problem;
  }
  all.initial_weights = text;
  return {};
}

/// `30, 60`, in brackets or not, into `numbers`.
std::string set_whole_numbers(std::vector<std::int64_t>& numbers, const std::string& text,
                              std::int64_t max, bool ascending) {
  std::vector<std::int64_t> result;
  std::string_view rest(text);
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  while (true) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    std::string_view part = rest.substr(0, comma);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    const auto number = number_from<std::int64_t>(part);
    if (!number || *number < 1 || *number > max ||
        (ascending && !result.empty() && *number <= result.back())) {
      return fmt::format("must be whole numbers from 1 to {}, {}with commas between, not {}", max,
                         ascending ? "ascending, " : "", in_quotes(text));
    }
    result.push_back(*number);
    if (comma == rest.size()) break;
    rest.remove_prefix(comma + 1);
  }
  numbers = std::move(result);
  return {};
}

Entry virtual_workers() {
  Entry entry =
      whole<std::int64_t>("virtual_workers", &Hyperparameters::virtual_workers, 1, 1'000'000,
                          "V: the data streams that each epoch is dealt to; divides batch_size, "
                          "and is at least the number of ranks. The "
                          "batches depend on it, so keep it when you resume");
  entry.standard = "the smallest divisor of batch_size from max(8, ranks) on";
  return entry;
}

std::vector<Entry> make_table() {
  using H = Hyperparameters;
  constexpr std::int64_t kMany = 1'000'000'000;
  const Count per_channel = {1, 3, "one number per image channel"};
  return {
      {"model", "text", "convnet, multilayer_perceptron, resnet18, resnet34, resnet50, or a URI",
       "resnet50", "a built-in model, or the URI of a TorchScript file", set_model},
      {"initial_weights", "URI", "s3:// or file://", "none: fresh, by seed",
       "weights to begin with: safetensors or TorchScript", set_initial_weights},
      choice<bool>("initial_weights_match", &H::match_by_name,
                   {{"strict", false}, {"by_name", true}},
                   "strict: all that the file and the model have; by_name: what they have in "
                   "common, and the log says what not"),
      flag("freeze_backbone", &H::freeze_backbone,
           "only the head is trained; needs initial_weights"),
      Entry{"head_widths", "numbers", "1 to 1000000 each, with commas between", "",
            "hidden layers of a resnet's head, such as 128: Linear, ReLU, Linear",
            [](H& all, const std::string& text) {
              return set_whole_numbers(all.head_widths, text, 1'000'000, /*ascending=*/false);
            }},
      whole<std::int64_t>("epochs", &H::epochs, 1, 100'000,
                          "how often the train channel is gone through"),
      whole<std::int64_t>("batch_size", &H::batch_size, 1, 10'000'000,
                          "B: samples of one optimizer step, over all ranks together"),
      virtual_workers(),
      whole<std::uint64_t>(
          "seed", &H::seed, 0, std::numeric_limits<std::uint64_t>::max(),
          "of every random choice: fresh weights, the order of samples, augmentation"),
      choice<OptimizerKind>("optimizer", &H::optimizer,
                            {{"sgd", OptimizerKind::kSgd},
                             {"adam", OptimizerKind::kAdam},
                             {"adamw", OptimizerKind::kAdamW},
                             {"lamb", OptimizerKind::kLamb},
                             {"lars", OptimizerKind::kLars}},
                            "how a step is made; lamb and lars are for large batches"),
      real("learning_rate", &H::learning_rate, {0, 1000, true}, "at its peak, after warm-up"),
      real("momentum", &H::momentum, {0, 1, false, true}, "of sgd and lars"),
      flag("nesterov", &H::nesterov, "Nesterov's momentum, of sgd"),
      real("beta1", &H::beta1, {0, 1, false, true}, "of adam, adamw and lamb"),
      real("beta2", &H::beta2, {0, 1, false, true}, "of adam, adamw and lamb"),
      real("epsilon", &H::epsilon, {0, 1, true}, "of adam, adamw and lamb"),
      real("trust_coefficient", &H::trust_coefficient, {0, 1000, true}, "of lars"),
      real("weight_decay", &H::weight_decay, {0, 100},
           "L2 for sgd, adam and lars; decoupled for adamw and lamb"),
      choice<bool>("exclude_from_weight_decay", &H::exclude_norms_and_biases,
                   {{"none", false}, {"norms_and_biases", true}},
                   "parameters of one dimension that have no weight decay, nor a trust ratio of "
                   "lamb and lars"),
      real("clip_grad_norm", &H::clip_grad_norm, {0, 1e9},
           "the most that the norm of the whole gradient may be; 0: any"),
      whole<std::int64_t>("gradient_accumulation", &H::gradient_accumulation, 1, 1'000'000,
                          "passes that a rank's part of a batch is split into, to use less "
                          "memory; batch_size stays what it is"),
      choice<ScheduleKind>("lr_schedule", &H::lr_schedule,
                           {{"constant", ScheduleKind::kConstant},
                            {"cosine", ScheduleKind::kCosine},
                            {"linear", ScheduleKind::kLinear},
                            {"step", ScheduleKind::kStep},
                            {"one_cycle", ScheduleKind::kOneCycle}},
                           "cosine and linear go to lr_min at the last step"),
      real("ema_decay", &H::ema_decay, {0, 1, false, true},
           "of an exponential moving average of the weights, which is then what is validated and "
           "saved; 0: none"),
      choice<std::string>("early_stopping_metric", &H::early_stopping_metric,
                          {{"none", "none"},
                           {"train:loss", "train:loss"},
                           {"train:accuracy", "train:accuracy"},
                           {"validation:loss", "validation:loss"},
                           {"validation:accuracy", "validation:accuracy"}},
                          "the job ends when it has not got better for a while"),
      whole<std::int64_t>("early_stopping_patience", &H::early_stopping_patience, 1, 100'000,
                          "epochs without an improvement after which the job ends"),
      whole<std::int64_t>("early_stopping_min_epochs", &H::early_stopping_min_epochs, 1, 100'000,
                          "epochs before which it does not end early"),
      real("early_stopping_tolerance", &H::early_stopping_tolerance, {0, 1, false, true},
           "share of the best so far that an improvement must exceed"),
      real("lr_min", &H::lr_min, {0, 1000}, "where cosine and linear end; at most learning_rate"),
      real("lr_gamma", &H::lr_gamma, {0, 1, true}, "what step multiplies the learning rate by"),
      whole<std::int64_t>("lr_step_size", &H::lr_step_size, 0, 100'000,
                          "epochs from one step down to the next; 0: at lr_milestones"),
      Entry{"lr_milestones", "numbers", "epochs, ascending, with commas between", "",
            "after how many epochs step goes down, such as 30, 60, 80",
            [](H& all, const std::string& text) {
              return set_whole_numbers(all.lr_milestones, text, 100'000, /*ascending=*/true);
            }},
      real("pct_start", &H::pct_start, {0, 1, true, true},
           "share of one_cycle's steps in which the learning rate rises"),
      real("div_factor", &H::div_factor, {1, 1e9},
           "one_cycle begins at learning_rate divided by it"),
      real("final_div_factor", &H::final_div_factor, {1, 1e12},
           "one_cycle ends at what it began with divided by it"),
      flag("cycle_momentum", &H::cycle_momentum,
           "one_cycle moves momentum (or beta1) against the learning rate"),
      real("base_momentum", &H::base_momentum, {0, 1, false, true},
           "momentum at the peak of a one_cycle with cycle_momentum"),
      real("max_momentum", &H::max_momentum, {0, 1, false, true},
           "momentum at the ends of a one_cycle with cycle_momentum"),
      real("warmup_epochs", &H::warmup_epochs, {0, 100'000},
           "over which the learning rate rises linearly; a fraction is fine; at most epochs"),
      real("label_smoothing", &H::label_smoothing, {0, 1, false, true}, "of the cross-entropy"),
      whole<std::int64_t>("image_size", &H::image_size, 1, 8192,
                          "height and width of what the model is given, in pixels"),
      Entry{"image_channels", "one of", "1, 3", "3", "1 for grey, 3 for RGB",
            [](H& all, const std::string& text) -> std::string {
              if (text != "1" && text != "3")
                return fmt::format("must be 1 or 3, not {}", in_quotes(text));
              all.image_channels = text[0] - '0';
              return {};
            }},
      reals("normalize_mean", &H::normalize_mean, per_channel, {-1000, 1000},
            "0.485, 0.456, 0.406; 0.5 for grey", "subtracted from pixels, which are 0 to 1"),
      reals("normalize_std", &H::normalize_std, per_channel, {0, 1000, true},
            "0.229, 0.224, 0.225; 0.5 for grey", "pixels are divided by it after that"),
      choice<Augmentation>("augmentation", &H::augmentation,
                           {{"none", Augmentation::kNone},
                            {"flip", Augmentation::kFlip},
                            {"crop_flip", Augmentation::kCropFlip},
                            {"random_resized_crop", Augmentation::kRandomResizedCrop}},
                           "what is done to training images; random_resized_crop flips too"),
      whole<std::int64_t>(
          "val_resize_size", &H::val_resize_size, 0, 8192,
          "shorter side of an image in validation, before its middle is taken; 0: "
          "image_size x 256/224, or no more than image_size where that is below 64"),
      interval("random_resized_crop_scale", &H::random_resized_crop_scale, {0, 1, true}, "0.08, 1",
               "share of the picture's area that a random_resized_crop takes"),
      interval("random_resized_crop_ratio", &H::random_resized_crop_ratio, {0, 1000, true},
               "3/4 to 4/3", "its width over its height"),
      reals("color_jitter", &H::color_jitter, {1, 4, "one to four numbers"}, {0, 1000}, "none",
            "how much brightness, contrast, saturation and hue (at most 0.5) of training images "
            "change at random"),
      whole<std::int64_t>("rand_augment_num_ops", &H::rand_augment_num_ops, 0, 100,
                          "RandAugment: operations on each training image; 0: none"),
      whole<std::int64_t>("rand_augment_magnitude", &H::rand_augment_magnitude, 0, 30,
                          "of each of them, in torchvision's 31 steps"),
      real("random_erasing", &H::random_erasing, {0, 1},
           "probability with which a part of a training image is blotted out"),
      real("mixup_alpha", &H::mixup_alpha, {0, 1000},
           "MixUp: images of a virtual worker are mixed by Beta(alpha, alpha); 0: not"),
      real("cutmix_alpha", &H::cutmix_alpha, {0, 1000},
           "CutMix, likewise; with both, each batch gets one of the two"),
      choice<bool>("jpeg_scaled_decode", &H::jpeg_scaled_decode, {{"true", true}, {"false", false}},
                   "a JPEG that is 2, 4 or 8 times too large is reduced while it is decoded: "
                   "faster, and pixels differ a little"),
      whole<std::int64_t>("num_classes", &H::num_classes, 0, 10'000'000,
                          "0: as many as the train channel has"),
      whole<std::int64_t>("checkpoint_every_steps", &H::checkpoint_every_steps, 0, kMany,
                          "0: on stop, and at the end of each epoch; needs a CheckpointConfig"),
      whole<std::int64_t>("checkpoints_kept", &H::checkpoints_kept, 1, kMany,
                          "how many of the job's checkpoints stay, the newest ones"),
      whole<std::int64_t>("processes_per_instance", &H::processes_per_instance, 1, 1024,
                          "ranks per host: InstanceCount times this many train together"),
      real("undecodable_limit", &H::undecodable_limit, {0, 1},
           "share of an epoch's samples that may be undecodable before the job fails"),
      whole<std::int64_t>("prefetch_bytes", &H::prefetch_bytes, 1 << 20, std::int64_t{1} << 40,
                          "of data read ahead, per rank"),
      whole<std::int64_t>("data_threads", &H::data_threads, 1, 256,
                          "per rank, that decode and transform"),
      whole<std::int64_t>("heartbeat_timeout_seconds", &H::heartbeat_timeout_seconds, 1, 3600,
                          "a rank that is silent for so long is taken for dead"),
      whole<std::int64_t>("storage_retry_seconds", &H::storage_retry_seconds, 1, 86'400,
                          "a call of the object store that fails is tried again for so long; then "
                          "the job fails"),
  };
}

const std::vector<Entry>& table() {
  static const std::vector<Entry> entries = make_table();
  return entries;
}

/// SageMaker's Python SDK writes each value as JSON, so that a string comes in quotes of its own.
std::string unquoted(const std::string& text) {
  if (text.size() < 2 || !text.starts_with('"') || !text.ends_with('"')) return text;
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_string() ? json.get<std::string>() : text;
}

}  // namespace

Hyperparameters read_hyperparameters(const std::map<std::string, std::string>& values,
                                     std::vector<JobError>& errors) {
  Hyperparameters result;
  std::vector<std::string> names;
  for (const Entry& entry : table()) names.push_back(entry.name);
  for (const auto& [name, text] : values) {
    const Entry* entry = nullptr;
    for (const Entry& candidate : table()) {
      if (candidate.name == name) entry = &candidate;
    }
    const std::string path = join_path("HyperParameters", name);
    if (entry == nullptr) {
      errors.push_back({path, "is not a known hyperparameter" + suggestion(name, names)});
      continue;
    }
    const std::string problem = entry->set(result, unquoted(text));
    if (!problem.empty()) errors.push_back({path, problem});
  }
  return result;
}

std::string hyperparameter_help() {
  std::string help;
  for (const Entry& entry : table()) {
    help += fmt::format("{}\n    {} ({}), default {}\n    {}\n", entry.name, entry.type,
                        entry.range, entry.standard.empty() ? "none" : entry.standard, entry.help);
  }
  return help;
}

}  // namespace musher

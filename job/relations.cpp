#include "job/relations.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "job/hyperparameters.h"
#include "job/metric_goal.h"
#include "job/nearest.h"
#include "job/tasks.h"

namespace musher {
namespace {

class Relations {
 public:
  Relations(const v1::CreateTrainingJobRequest& request, bool has_validation, Job& job,
            std::vector<JobError>& errors)
      : request_(request), has_validation_(has_validation), job_(job), errors_(errors) {}

  void run() {
    suits_task();
    virtual_workers();
    normalization();
    augmentation();
    optimization();
    early_stopping();
    fine_tuning();
    const Hyperparameters& h = job_.hyperparameters;
    if (h.warmup_epochs > static_cast<double>(h.epochs)) {
      error("HyperParameters.warmup_epochs",
            fmt::format("must be at most epochs, {}, not {}", h.epochs, h.warmup_epochs));
    }
    if (h.checkpoint_every_steps > 0 && !request_.has_checkpoint_config()) {
      error("HyperParameters.checkpoint_every_steps",
            "needs a CheckpointConfig, which says where checkpoints go");
    }
  }

 private:
  /// The model, and what else is of one task alone.
  void suits_task() {
    Hyperparameters& h = job_.hyperparameters;
    const TaskInfo& task = task_info(job_.task);
    if (request_.hyper_parameters().count("model") == 0) h.model = task.model;
    const bool own = h.model.find("://") != std::string::npos || h.model.starts_with("custom:");
    if (!own && std::find(task.models.begin(), task.models.end(), h.model) == task.models.end()) {
      error("HyperParameters.model",
            fmt::format("must be {}, the URI of a TorchScript file, or custom:NAME, for the task "
                        "{}, not {}",
                        fmt::join(task.models, ", "), task.name, in_quotes(h.model)));
    }
    for (const auto& [kind, names] : hyperparameters_of_tasks()) {
      if (kind == job_.task) continue;
      for (const std::string& name : names) {
        if (request_.hyper_parameters().count(name) == 0) continue;
        error("HyperParameters." + name,
              fmt::format("is of the task {}, not of {}", task_info(kind).name, task.name));
      }
    }
    const auto given = [&](const char* name) {
      return request_.hyper_parameters().count(name) > 0;
    };
    if (given("hidden_widths") && h.model != "multilayer_perceptron")
      error("HyperParameters.hidden_widths", "needs the model multilayer_perceptron");
    for (const char* name : {"gpt_layers", "gpt_heads", "gpt_width", "tied_embeddings"}) {
      if (job_.task == TaskKind::kLanguageModeling && given(name) && h.model != "gpt")
        error(std::string("HyperParameters.") + name, "needs the model gpt");
    }
    for (const char* name :
         {"loss", "huber_delta", "label_smoothing", "mixup_alpha", "cutmix_alpha"}) {
      if (!h.loss_module.empty() && given(name))
        error(std::string("HyperParameters.") + name,
              "is of the task's own loss: leave it out, or loss_module");
    }
    if (h.loss_module.empty() && given("huber_delta") && h.loss != LossKind::kHuber)
      error("HyperParameters.huber_delta", "needs the loss huber");
    if (job_.task == TaskKind::kLanguageModeling) language_model();
    if (job_.task == TaskKind::kImageClassification) return;
    h.augmentation = Augmentation::kNone;
    if (uses_augmented_manifest()) {
      error("InputDataConfig",
            "AugmentedManifestFile names images and classes: it is of the task "
            "image-classification");
    }
  }

  void language_model() {
    const Hyperparameters& h = job_.hyperparameters;
    if (h.vocabulary_size == 0)
      error("HyperParameters.vocabulary_size", "is required: the number of tokens that there are");
    if (h.model != "gpt") return;
    if (h.gpt_width % h.gpt_heads != 0) {
      error("HyperParameters.gpt_width",
            fmt::format("must be a multiple of gpt_heads, {}, not {}", h.gpt_heads, h.gpt_width));
    }
    if (h.freeze_backbone && h.tied_embeddings)
      error("HyperParameters.freeze_backbone",
            "needs tied_embeddings false: the head has no "
            "weights of its own");
  }

  bool uses_augmented_manifest() const {
    const auto augmented = [](const Channel& channel) {
      return channel.type == Channel::Type::kAugmentedManifestFile;
    };
    return augmented(job_.train) || (job_.validation && augmented(*job_.validation));
  }

  void fine_tuning() {
    const Hyperparameters& h = job_.hyperparameters;
    if (!h.head_widths.empty() && !h.model.starts_with("resnet")) {
      error("HyperParameters.head_widths",
            fmt::format("is for resnet18, resnet34 and resnet50, not for {}", h.model));
    }
    const auto of_resnets = [&](const char* name, bool given) {
      if (given && !h.model.starts_with("resnet")) {
        error(std::string("HyperParameters.") + name,
              fmt::format("is for resnet18, resnet34 and resnet50, not for {}", h.model));
      } else if (given && h.freeze_backbone) {
        error(std::string("HyperParameters.") + name,
              "must be left out with freeze_backbone: the backbone is not trained");
      }
    };
    of_resnets("activation_checkpointing", h.activation_checkpointing);
    of_resnets("sync_batch_norm", h.sync_batch_norm);
    if (h.match_by_name && h.initial_weights.empty()) {
      error("HyperParameters.initial_weights_match", "needs initial_weights");
    }
    feature_cache();
    if (!h.freeze_backbone) return;
    if (h.model.find("://") != std::string::npos) {
      error("HyperParameters.freeze_backbone",
            "needs a built-in model, of which it is known where the head begins");
    } else if (h.initial_weights.empty()) {
      error("HyperParameters.freeze_backbone",
            "needs initial_weights: layers that are neither trained nor loaded know nothing");
    }
  }

  void feature_cache() {
    const Hyperparameters& h = job_.hyperparameters;
    if (h.feature_cache_bytes == 0) return;
    const bool changes = h.augmentation != Augmentation::kNone || !h.color_jitter.empty() ||
                         h.rand_augment_num_ops > 0 || h.random_erasing > 0 || h.mixup_alpha > 0 ||
                         h.cutmix_alpha > 0;
    if (!h.freeze_backbone) {
      error("HyperParameters.feature_cache_bytes", "needs freeze_backbone");
    } else if (changes) {
      error("HyperParameters.feature_cache_bytes",
            "needs the augmentation none, and nothing else that changes images at random");
    }
  }

  /// Which metrics a loss_module returns, only the trainer finds.
  void early_stopping() {
    const Hyperparameters& h = job_.hyperparameters;
    if (h.early_stopping_metric == "none") return;
    const auto wrong = [&](std::string message) {
      error("HyperParameters.early_stopping_metric", std::move(message));
    };
    const MetricGoal goal = parse_metric_goal(h.early_stopping_metric);
    const bool known_direction = goal.given == MetricGoal::Direction::kKnown;
    const bool of_validation = goal.name.starts_with("validation:");
    const std::vector<std::string> metrics = task_metrics(job_.task);
    const bool known = std::find(metrics.begin(), metrics.end(), goal.name) != metrics.end();
    const bool may_be_own =
        !h.loss_module.empty() && (of_validation || goal.name.starts_with("train:"));
    if (!known && !may_be_own) {
      wrong(fmt::format("must be one of none, {}{}, not {}", fmt::join(metrics, ", "),
                        h.loss_module.empty() ? "" : ", or one that loss_module returns",
                        in_quotes(h.early_stopping_metric)));
    } else if (!known && known_direction) {
      wrong(
          fmt::format("must say whether a small or a great value of {0} is a good one: "
                      "\"min {0}\" or \"max {0}\"",
                      goal.name));
    } else if (known && goal.greater_is_better() != greater_is_better(goal.name)) {
      wrong(fmt::format("of {} a {} value is a good one, so it can't be {}", goal.name,
                        greater_is_better(goal.name) ? "great" : "small",
                        in_quotes(h.early_stopping_metric)));
    } else if (of_validation && !has_validation_) {
      wrong(fmt::format("{} needs a channel validation", goal.name));
    }
  }

  void optimization() {
    const Hyperparameters& h = job_.hyperparameters;
    const auto wrong = [&](const char* name, std::string message) {
      error(std::string("HyperParameters.") + name, std::move(message));
    };
    const bool has_momentum =
        (h.optimizer == OptimizerKind::kSgd || h.optimizer == OptimizerKind::kLars);
    if (h.nesterov && (h.optimizer != OptimizerKind::kSgd || h.momentum == 0)) {
      wrong("nesterov", "needs the optimizer sgd with a momentum above 0");
    }
    if (h.gradient_accumulation > 1 && h.gradient_accumulation > h.batch_size / job_.ranks) {
      wrong("gradient_accumulation",
            fmt::format("must be at most the samples of a rank in a step, {}, not {}",
                        h.batch_size / job_.ranks, h.gradient_accumulation));
    }
    for (const char* name : {"loss_scale", "loss_scale_growth_interval"}) {
      if (h.precision != Precision::kFloat16 && request_.hyper_parameters().count(name) > 0)
        wrong(name, "needs the precision fp16");
    }
    if (h.lr_min > h.learning_rate) {
      wrong("lr_min",
            fmt::format("must be at most learning_rate, {}, not {}", h.learning_rate, h.lr_min));
    }
    if (h.lr_schedule == ScheduleKind::kStep) {
      if (h.lr_step_size > 0 && !h.lr_milestones.empty())
        wrong("lr_step_size", "must be left out where there are lr_milestones");
      if (h.lr_step_size == 0 && h.lr_milestones.empty())
        wrong("lr_schedule", "step needs lr_step_size or lr_milestones");
    }
    if (h.lr_schedule == ScheduleKind::kOneCycle && h.warmup_epochs > 0) {
      wrong("warmup_epochs", "must be left out: one_cycle rises by itself, over pct_start");
    }
    if (h.cycle_momentum && h.lr_schedule != ScheduleKind::kOneCycle) {
      wrong("cycle_momentum", "needs the lr_schedule one_cycle");
    } else if (h.cycle_momentum && has_momentum && h.momentum == 0) {
      wrong("cycle_momentum", "needs a momentum above 0");
    }
  }

  void virtual_workers() {
    Hyperparameters& h = job_.hyperparameters;
    const std::string path = "HyperParameters.virtual_workers";
    if (h.batch_size < job_.ranks) {
      return error("HyperParameters.batch_size",
                   fmt::format("must be at least the number of ranks, {}, not {}: it is the batch "
                               "of all ranks together",
                               job_.ranks, h.batch_size));
    }
    if (request_.hyper_parameters().count("virtual_workers") == 0) {
      h.virtual_workers = default_virtual_workers(h.batch_size, job_.ranks);
    } else if (h.batch_size % h.virtual_workers != 0) {
      error(path, fmt::format("must divide batch_size, {}, which {} does not", h.batch_size,
                              h.virtual_workers));
    } else if (h.virtual_workers < job_.ranks) {
      error(path, fmt::format("must be at least the number of ranks, {}, not {}", job_.ranks,
                              h.virtual_workers));
    }
  }

  /// The smallest divisor of B that is at least max(8, ranks), else B. Up to 8 ranks it does not
  /// depend on their number, so that the batches are the same on 1, 2, 4 or 8; more than 8 streams
  /// would make each shorter for no gain.
  static std::int64_t default_virtual_workers(std::int64_t batch_size, int ranks) {
    for (std::int64_t v = std::max(8, ranks); v < batch_size; ++v) {
      if (batch_size % v == 0) return v;
    }
    return batch_size;
  }

  void normalization() {
    Hyperparameters& h = job_.hyperparameters;
    const bool colour = h.image_channels == 3;
    // ImageNet's, as torchvision's weights expect.
    fill(h.normalize_mean, "normalize_mean",
         colour ? std::vector{0.485, 0.456, 0.406} : std::vector{0.5});
    fill(h.normalize_std, "normalize_std",
         colour ? std::vector{0.229, 0.224, 0.225} : std::vector{0.5});
  }

  void augmentation() {
    const Hyperparameters& h = job_.hyperparameters;
    if (h.val_resize_size > 0 && h.val_resize_size < h.image_size) {
      error("HyperParameters.val_resize_size",
            fmt::format("must be 0 or at least image_size, {}, not {}", h.image_size,
                        h.val_resize_size));
    }
    in_order(h.random_resized_crop_scale, "random_resized_crop_scale");
    in_order(h.random_resized_crop_ratio, "random_resized_crop_ratio");
    constexpr double kMostHue = 0.5;
    if (h.color_jitter.size() == 4 && h.color_jitter[3] > kMostHue) {
      error("HyperParameters.color_jitter",
            fmt::format("must have a hue, the fourth, of at most {}, not {}", kMostHue,
                        h.color_jitter[3]));
    }
    for (const auto& [name, alpha] :
         {std::pair{"mixup_alpha", h.mixup_alpha}, std::pair{"cutmix_alpha", h.cutmix_alpha}}) {
      if (alpha == 0 || h.batch_size >= 2 * h.virtual_workers) continue;
      error(std::string("HyperParameters.") + name,
            fmt::format("needs two samples or more of each virtual worker in a batch: batch_size, "
                        "{}, must be at least twice virtual_workers, {}",
                        h.batch_size, h.virtual_workers));
    }
  }

  void in_order(const std::vector<double>& interval, const std::string& name) {
    if (interval[0] <= interval[1]) return;
    error("HyperParameters." + name,
          fmt::format("must have the smaller number first, not {}, {}", interval[0], interval[1]));
  }

  void fill(std::vector<double>& values, const std::string& name,
            const std::vector<double>& standard) {
    if (values.empty()) values = standard;
    if (values.size() != standard.size()) {
      error("HyperParameters." + name,
            fmt::format("must have as many numbers as image_channels, {}, not {}", standard.size(),
                        values.size()));
    }
  }

  void error(std::string path, std::string message) {
    errors_.push_back({std::move(path), std::move(message)});
  }

  const v1::CreateTrainingJobRequest& request_;
  const bool has_validation_;
  Job& job_;
  std::vector<JobError>& errors_;
};

}  // namespace

void check_relations(const v1::CreateTrainingJobRequest& request, bool has_validation, Job& job,
                     std::vector<JobError>& errors) {
  Relations(request, has_validation, job, errors).run();
}

}  // namespace musher

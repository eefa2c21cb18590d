#include "job/tasks.h"

#include "common/error.h"

namespace musher {

const std::vector<TaskInfo>& tasks() {
  static const std::vector<TaskInfo> all = {
      {TaskKind::kImageClassification,
       "image-classification",
       "resnet50",
       {"convnet", "multilayer_perceptron", "resnet18", "resnet34", "resnet50"},
       {"accuracy"}},
      {TaskKind::kRegression,
       "regression",
       "multilayer_perceptron",
       {"multilayer_perceptron"},
       {"rmse", "mae"}},
      {TaskKind::kLanguageModeling, "language-modeling", "gpt", {"gpt"}, {"perplexity"}},
  };
  return all;
}

const TaskInfo& task_info(TaskKind kind) {
  for (const TaskInfo& task : tasks()) {
    if (task.kind == kind) return task;
  }
  throw Error(ErrorCode::kInternal, "a task that no job can name");
}

std::vector<std::string> task_metrics(TaskKind kind) {
  std::vector<std::string> names;
  for (const char* prefix : {"train:", "validation:"}) {
    names.push_back(std::string(prefix) + "loss");
    for (const std::string& metric : task_info(kind).metrics) names.push_back(prefix + metric);
  }
  return names;
}

const std::vector<std::pair<TaskKind, std::vector<std::string>>>& hyperparameters_of_tasks() {
  static const std::vector<std::pair<TaskKind, std::vector<std::string>>> all = {
      {TaskKind::kImageClassification,
       {"image_size", "image_channels", "normalize_mean", "normalize_std", "augmentation",
        "val_resize_size", "random_resized_crop_scale", "random_resized_crop_ratio", "color_jitter",
        "rand_augment_num_ops", "rand_augment_magnitude", "random_erasing", "mixup_alpha",
        "cutmix_alpha", "jpeg_scaled_decode", "channels_last", "num_classes", "label_smoothing"}},
      {TaskKind::kRegression,
       {"loss", "huber_delta", "csv_header", "target_columns", "feature_columns"}},
      {TaskKind::kLanguageModeling,
       {"context_length", "vocabulary_size", "token_type", "gpt_layers", "gpt_heads", "gpt_width",
        "tied_embeddings"}},
  };
  return all;
}

bool greater_is_better(std::string_view metric) {
  return metric == "accuracy" || metric.ends_with(":accuracy");
}

}  // namespace musher

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "job/hyperparameters.h"
#include "job/limits.h"
#include "job/metric_definitions.h"
#include "job/nearest.h"
#include "job/request.h"
#include "job/tasks.h"

namespace musher {
namespace {

constexpr int kMostRanks = 100'000;

/// Builds the job beside the list of what is wrong; the job counts only where the list stays empty.
class Validation {
 public:
  Validation(const v1::CreateTrainingJobRequest& request, std::optional<int> workers)
      : request_(request), workers_(workers) {}

  JobOrErrors run() {
    check_limits(request_, errors_);
    job_.name = request_.training_job_name();
    algorithm();
    channels();
    locations();
    limits_of_the_run();
    const std::map<std::string, std::string> values(request_.hyper_parameters().begin(),
                                                    request_.hyper_parameters().end());
    const std::size_t before = errors_.size();
    job_.hyperparameters = read_hyperparameters(values, errors_);
    ranks();
    // Relations between values that are wrong by themselves would only add noise.
    if (errors_.size() == before) relations();
    if (!errors_.empty()) return {std::nullopt, std::move(errors_), std::move(notices_)};
    return {std::move(job_), {}, std::move(notices_)};
  }

 private:
  void algorithm() {
    const auto& algorithm = request_.algorithm_specification();
    std::vector<std::string> names;
    for (const TaskInfo& task : tasks()) {
      names.push_back(task.name);
      if (algorithm.algorithm_name() == task.name) job_.task = task.kind;
    }
    if (!algorithm.algorithm_name().empty() &&
        algorithm.algorithm_name() != task_info(job_.task).name) {
      error("AlgorithmSpecification.AlgorithmName",
            fmt::format("must be one of {}, or be left out for the first, not {}",
                        fmt::join(names, ", "), in_quotes(algorithm.algorithm_name())));
    }
    if (!algorithm.training_image().empty()) {
      error("AlgorithmSpecification.TrainingImage",
            "Musher runs no containers; leave it out, and name the model in HyperParameters.model");
    }
    input_mode(algorithm.training_input_mode(), "AlgorithmSpecification.TrainingInputMode");
    job_.metric_definitions = read_metric_definitions(job_.task, algorithm, errors_, notices_);
  }

  void input_mode(v1::AlgorithmSpecification::InputMode mode, const std::string& path) {
    if (mode == v1::AlgorithmSpecification::Pipe) {
      error(path, "Pipe is not offered; write File or FastFile");
    }
  }

  void channels() {
    std::map<std::string, std::string> seen;  // what it is used for → path of its name
    for (int i = 0; i < request_.input_data_config_size(); ++i) {
      const v1::Channel& channel = request_.input_data_config(i);
      const std::string path = fmt::format("InputDataConfig[{}]", i);
      const std::optional<Channel> read = this->channel(channel, path);
      if (channel.channel_name().empty()) continue;  // said by the limits
      const std::string use =
          channel.channel_name() == "training" ? "train" : channel.channel_name();
      if (use != "train" && use != "validation") {
        error(path + ".ChannelName",
              fmt::format("must be train (or training) or validation, not {}",
                          in_quotes(channel.channel_name())));
        continue;
      }
      const auto [other, first] = seen.emplace(use, path + ".ChannelName");
      if (!first) {
        error(path + ".ChannelName",
              fmt::format("\"{}\" is there already, at {}", use, other->second));
      } else if (read) {
        use == "train" ? job_.train = *read : *(job_.validation = read);
      }
    }
    has_validation_ = seen.contains("validation");
    if (request_.input_data_config_size() > 0 && seen.count("train") == 0) {
      error("InputDataConfig", "must have a channel with the ChannelName train (or training)");
    }
  }

  std::optional<Channel> channel(const v1::Channel& channel, const std::string& path) {
    Channel result;
    result.name = channel.channel_name() == "training" ? "train" : channel.channel_name();
    input_mode(channel.input_mode(), path + ".InputMode");
    if (channel.has_shuffle_config()) result.shuffle_seed = channel.shuffle_config().seed();
    if (!channel.data_source().has_s3_data_source()) return std::nullopt;  // said by the limits
    const auto& source = channel.data_source().s3_data_source();
    const std::string at = path + ".DataSource.S3DataSource";
    data_type(source, at, result);
    result.sharded = source.s3_data_distribution_type() == v1::S3DataSource::ShardedByS3Key;
    const std::optional<Uri> parsed = uri(source.s3_uri(), at + ".S3Uri");
    if (!parsed) return std::nullopt;
    result.uri = *parsed;
    return result;
  }

  void data_type(const v1::S3DataSource& source, const std::string& at, Channel& result) {
    const bool augmented = source.s3_data_type() == v1::S3DataSource::AugmentedManifestFile;
    if (source.s3_data_type() == v1::S3DataSource::ManifestFile) {
      result.type = Channel::Type::kManifestFile;
    }
    if (augmented) result.type = Channel::Type::kAugmentedManifestFile;
    const auto& names = source.attribute_names();
    result.attributes.assign(names.begin(), names.end());
    if (augmented && names.size() != 2) {
      error(at + ".AttributeNames",
            fmt::format("must be two names: of what holds an image's URI and of what holds its "
                        "class, e.g. [\"source-ref\", \"class\"], not {}",
                        names.size()));
    } else if (!augmented && !names.empty()) {
      error(at + ".AttributeNames", "is there only with S3DataType: AugmentedManifestFile");
    }
  }

  void locations() {
    if (request_.has_output_data_config()) {
      const auto output =
          uri(request_.output_data_config().s3_output_path(), "OutputDataConfig.S3OutputPath");
      if (output) job_.output = *output;
    }
    if (request_.has_checkpoint_config()) {
      job_.checkpoints = uri(request_.checkpoint_config().s3_uri(), "CheckpointConfig.S3Uri");
    }
  }

  /// Nothing for an empty text too, which the limits have named.
  std::optional<Uri> uri(const std::string& text, const std::string& path) {
    if (text.empty()) return std::nullopt;
    if (text.starts_with("file://.")) {
      error(path,
            fmt::format(
                "{} is relative: `file://./…` works in a job file, from whose folder it counts; "
                "elsewhere write file:///folder",
                in_quotes(text)));
      return std::nullopt;
    }
    try {
      return Uri::parse(text);
    } catch (const Error& e) {
      error(path, e.what());
      return std::nullopt;
    }
  }

  void limits_of_the_run() {
    if (request_.stopping_condition().max_runtime_in_seconds() > 0) {
      job_.max_runtime =
          std::chrono::seconds(request_.stopping_condition().max_runtime_in_seconds());
    }
    if (request_.stopping_condition().max_pending_time_in_seconds() > 0) {
      job_.max_pending =
          std::chrono::seconds(request_.stopping_condition().max_pending_time_in_seconds());
    }
    spot();
    tags();
    job_.retries = request_.retry_strategy().maximum_retry_attempts();
    job_.environment = {request_.environment().begin(), request_.environment().end()};
  }

  void tags() {
    std::map<std::string, int> seen;
    for (int i = 0; i < request_.tags_size(); ++i) {
      const std::string& key = request_.tags(i).key();
      const auto [first, added] = seen.emplace(key, i);
      if (!added) {
        error(fmt::format("Tags[{}].Key", i),
              fmt::format("{} is there already, at Tags[{}]", in_quotes(key), first->second));
      } else if (key.starts_with("aws:")) {
        error(fmt::format("Tags[{}].Key", i),
              fmt::format("must not begin with aws:, which is AWS's own, not {}", in_quotes(key)));
      }
    }
  }

  /// SageMaker's rules. Interruptions of a spot job are bounded by its time alone, so it has one.
  void spot() {
    const std::string path = "StoppingCondition.MaxWaitTimeInSeconds";
    const int wait = request_.stopping_condition().max_wait_time_in_seconds();
    job_.spot = request_.enable_managed_spot_training();
    if (!job_.spot) {
      if (wait != 0) error(path, "is there only with EnableManagedSpotTraining: true");
    } else if (wait == 0) {
      error(path, "is required with EnableManagedSpotTraining: true");
    } else if (wait > 0) {
      job_.max_wait = std::chrono::seconds(wait);
      if (job_.max_wait < job_.max_runtime) {
        error(path, fmt::format("must be at least MaxRuntimeInSeconds, {}, not {}",
                                job_.max_runtime.count(), wait));
      }
    }
  }

  void ranks() {
    if (workers_) {
      job_.ranks = *workers_;
      if (*workers_ < 1 || *workers_ > kMostRanks) {
        error("--workers", fmt::format("must be 1 to {}, not {}", kMostRanks, *workers_));
        job_.ranks = 1;
      }
      return;
    }
    const std::int64_t instances = std::max(1, request_.resource_config().instance_count());
    const std::int64_t ranks = instances * job_.hyperparameters.processes_per_instance;
    if (ranks > kMostRanks) {
      error("ResourceConfig.InstanceCount",
            fmt::format("{} instances of {} processes are more than {} ranks", instances,
                        job_.hyperparameters.processes_per_instance, kMostRanks));
      return;
    }
    if (ranks > 0) job_.ranks = static_cast<int>(ranks);
  }

  void relations() {
    suits_task();
    virtual_workers();
    normalization();
    augmentation();
    optimization();
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

  /// The model, and what else is of one task alone.
  void suits_task() {
    Hyperparameters& h = job_.hyperparameters;
    const TaskInfo& task = task_info(job_.task);
    if (request_.hyper_parameters().count("model") == 0) h.model = task.model;
    const bool own = h.model.find("://") != std::string::npos || h.model.starts_with("custom:");
    // A model of the user's is tried with numbers that are no tokens, and must return [N, classes].
    const bool takes_scripts = job_.task != TaskKind::kLanguageModeling;
    if (!(own && takes_scripts) &&
        std::find(task.models.begin(), task.models.end(), h.model) == task.models.end()) {
      error("HyperParameters.model",
            fmt::format("must be {}{} for the task {}, not {}", fmt::join(task.models, ", "),
                        takes_scripts ? ", the URI of a TorchScript file, or custom:NAME," : "",
                        task.name, in_quotes(h.model)));
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
    const std::vector<std::string> metrics = task_metrics(job_.task);
    if (h.early_stopping_metric != "none" &&
        std::find(metrics.begin(), metrics.end(), h.early_stopping_metric) == metrics.end()) {
      wrong("early_stopping_metric",
            fmt::format("must be one of none, {}, not {}", fmt::join(metrics, ", "),
                        in_quotes(h.early_stopping_metric)));
    } else if (h.early_stopping_metric.starts_with("validation:") && !has_validation_) {
      wrong("early_stopping_metric",
            fmt::format("{} needs a channel validation", h.early_stopping_metric));
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
  const std::optional<int> workers_;
  bool has_validation_ = false;
  Job job_;
  std::vector<JobError> errors_;
  std::vector<JobError> notices_;
};

}  // namespace

JobOrErrors validate_request(const v1::CreateTrainingJobRequest& request,
                             std::optional<int> workers) {
  return Validation(request, workers).run();
}

}  // namespace musher

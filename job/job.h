#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "job/tasks.h"
#include "storage/uri.h"

namespace musher {

/// One channel of input data.
struct Channel {
  std::string name;
  Uri uri;
  /// What `uri` is: the folder of the data, or a file that names them (dataset/object_list.h).
  enum class Type { kPrefix, kManifestFile, kAugmentedManifestFile };
  Type type = Type::kPrefix;
  std::vector<std::string> attributes;  ///< of kAugmentedManifestFile: the image's URI, its class
  bool sharded = false;  ///< ShardedByS3Key: a virtual worker has the same samples in every epoch
  std::optional<std::int64_t> shuffle_seed;  ///< ShuffleConfig.Seed; otherwise the job's seed
};

enum class OptimizerKind { kSgd, kAdam, kAdamW, kLamb, kLars };
enum class Precision { kFloat32, kBFloat16, kFloat16 };
enum class LossKind { kMse, kL1, kHuber };
enum class ScheduleKind { kConstant, kCosine, kLinear, kStep, kOneCycle };
enum class Augmentation { kNone, kFlip, kCropFlip, kRandomResizedCrop };

/// SageMaker's string map, typed and range-checked. A key not here is an error; the table in
/// hyperparameters_<topic>.cpp is the one place that knows names, types, ranges, defaults and help.
struct Hyperparameters {
  std::string model = "resnet50";  ///< convnet, multilayer_perceptron, resnet18/34/50, or the URI
                                   ///< of a TorchScript file; what the task has by itself
  std::string initial_weights;     ///< URI of a file of weights; empty: fresh by seed
  bool match_by_name = false;      ///< initial weights that do not match are left out
  bool freeze_backbone = false;
  bool activation_checkpointing = false;  ///< of a ResNet: its blocks run again in backward
  bool sync_batch_norm = false;           ///< statistics over all ranks
  std::int64_t feature_cache_bytes = 0;   ///< of a frozen backbone's outputs, per rank; 0: none
  std::vector<std::int64_t> head_widths;  ///< of a ResNet; empty: one linear layer
  std::vector<std::int64_t> hidden_widths = {512, 512};  ///< of multilayer_perceptron
  std::int64_t gpt_layers = 4;                           ///< of gpt, as the next three
  std::int64_t gpt_heads = 4;
  std::int64_t gpt_width = 128;
  bool tied_embeddings = true;  ///< the head's weights are those of the token embedding
  std::int64_t epochs = 10;
  std::int64_t batch_size = 64;      ///< global, B
  std::int64_t virtual_workers = 8;  ///< V; divides B, at least the number of ranks
  std::uint64_t seed = 1;
  OptimizerKind optimizer = OptimizerKind::kSgd;
  double learning_rate = 0.1;
  /// Of the learning rate, by names of modules, `head` or `backbone`.
  std::vector<std::pair<std::string, double>> lr_multipliers;
  double momentum = 0.9;
  bool nesterov = false;  ///< of sgd
  double beta1 = 0.9;     ///< of adam, adamw and lamb, as the next two
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double trust_coefficient = 0.001;  ///< of lars
  double weight_decay = 0.0;
  bool exclude_norms_and_biases = false;   ///< from weight decay, and from the trust ratio
  double clip_grad_norm = 0.0;             ///< the most that the gradient's norm may be; 0: any
  std::int64_t gradient_accumulation = 1;  ///< passes that a rank's part of a batch is split into
  Precision precision = Precision::kFloat32;       ///< of forward and backward
  double loss_scale = 65536;                       ///< of fp16, at the beginning
  std::int64_t loss_scale_growth_interval = 2000;  ///< steps
  ScheduleKind lr_schedule = ScheduleKind::kCosine;
  double warmup_epochs = 0.0;
  bool channels_last = false;  ///< how images lie in memory
  double ema_decay = 0.0;      ///< of the average of the weights; 0: none
  std::string early_stopping_metric = "none";
  std::int64_t early_stopping_patience = 5;  ///< epochs
  std::int64_t early_stopping_min_epochs = 10;
  double early_stopping_tolerance = 0.0;    ///< share of the best so far
  double lr_min = 0.0;                      ///< where cosine and linear end
  double lr_gamma = 0.1;                    ///< of step, as the next two; they count epochs
  std::int64_t lr_step_size = 0;            ///< 0: at lr_milestones
  std::vector<std::int64_t> lr_milestones;  ///< ascending
  double pct_start = 0.3;                   ///< of one_cycle, as the rest, under PyTorch's names
  double div_factor = 25.0;
  double final_div_factor = 1e4;
  bool cycle_momentum = false;
  double base_momentum = 0.85;
  double max_momentum = 0.95;
  double label_smoothing = 0.0;
  LossKind loss = LossKind::kMse;  ///< of regression
  double huber_delta = 1.0;        ///< where huber goes from square to linear
  std::string loss_module;         ///< URI of a TorchScript module; empty: the task's own loss
  bool csv_header = false;         ///< the first line of a .csv names the columns
  std::vector<std::string> target_columns;   ///< of regression; empty: the first
  std::vector<std::string> feature_columns;  ///< empty: all but the targets
  std::int64_t context_length = 128;  ///< of language modeling: tokens that a sample predicts
  std::int64_t vocabulary_size = 0;   ///< tokens are below it
  std::string token_type = "uint16";  ///< of .bin files: uint16, uint32 or int32
  std::int64_t image_size = 224;      ///< height and width of what the model is given
  std::int64_t image_channels = 3;    ///< 1 or 3
  std::vector<double>
      normalize_mean;  ///< one number per channel; default ImageNet's for 3, 0.5 for 1
  std::vector<double> normalize_std;
  Augmentation augmentation = Augmentation::kFlip;
  std::int64_t val_resize_size = 0;  ///< shorter side in evaluation; 0: by image_size
  std::vector<double> random_resized_crop_scale = {0.08, 1.0};
  std::vector<double> random_resized_crop_ratio = {3.0 / 4.0, 4.0 / 3.0};
  std::vector<double>
      color_jitter;  ///< brightness, contrast, saturation, hue; or the first of them
  std::int64_t rand_augment_num_ops = 0;
  std::int64_t rand_augment_magnitude = 9;  ///< of 0 to 30
  double random_erasing = 0;                ///< probability
  double mixup_alpha = 0;                   ///< 0: none
  double cutmix_alpha = 0;                  ///< 0: none
  bool jpeg_scaled_decode = true;
  std::int64_t num_classes = 0;  ///< 0: as many as the train channel has
  std::int64_t checkpoint_every_steps =
      0;  ///< 0: only on stop (and at the end of each epoch where there is a CheckpointConfig)
  std::int64_t checkpoints_kept = 3;  ///< the newest of this job's
  std::int64_t processes_per_instance = 1;
  double undecodable_limit = 0.01;  ///< share of the samples of an epoch that may be undecodable
  std::int64_t prefetch_bytes = 256 << 20;  ///< per rank
  std::int64_t data_threads = 1;            ///< per rank, that decode and transform
  std::int64_t heartbeat_timeout_seconds = 30;
  std::int64_t storage_retry_seconds = 120;  ///< after the first failure of one call
};

/// A metric that is found in the ranks' log lines: the number in the first group of `regex`, which
/// is RE2's.
struct MetricDefinition {
  std::string name;
  std::string regex;
};

/// A validated CreateTrainingJob: what the rest of Musher works with. A value.
struct Job {
  std::string name;
  TaskKind task = TaskKind::kImageClassification;
  Hyperparameters hyperparameters;
  Channel train;
  std::optional<Channel> validation;
  Uri output;                      ///< OutputDataConfig.S3OutputPath
  std::optional<Uri> checkpoints;  ///< CheckpointConfig.S3Uri
  int ranks = 1;                   ///< InstanceCount × processes_per_instance, or --workers
  std::chrono::seconds max_runtime{86'400};
  bool spot = false;  ///< EnableManagedSpotTraining: its hosts may be taken back at any time
  std::optional<std::chrono::seconds> max_wait;     ///< of a spot job: from its creation to its end
  std::optional<std::chrono::seconds> max_pending;  ///< from its creation to its first start
  int retries = 0;                                  ///< RetryStrategy.MaximumRetryAttempts
  std::vector<MetricDefinition> metric_definitions;
  std::map<std::string, std::string> environment;

  /// `<output>/<name>/output/model.tar.gz`
  Uri artifact() const { return output.join(name + "/output/model.tar.gz"); }
};

/// One thing that is wrong with a job, e.g. {"HyperParameters.epochs", "must be a whole number from
/// 1 to 100000, not \"ten\""}.
struct JobError {
  std::string path;
  std::string message;
};

/// Either a job, or everything that is wrong with it. `notices`: what it asks for that changes
/// nothing, e.g. {"RoleArn", "changes nothing: credentials are …"}.
struct JobOrErrors {
  std::optional<Job> job;
  std::vector<JobError> errors;
  std::vector<JobError> notices = {};
};

/// From the JSON text of a CreateTrainingJob request. `workers` overrides the number of ranks
/// (--workers). All errors at once, in the order of the file: JSON syntax with line and column,
/// unknown fields with the nearest known one, wrong types, bad enum values, limits of SageMaker's
/// model, hyperparameters, and what must hold between them. `folder`, where it is given, is the one
/// that the job file lies in: URIs that begin with `file://./` are relative to it.
JobOrErrors parse_job(const std::string& json, std::optional<int> workers = std::nullopt,
                      const std::string& folder = "");

/// Errors as text, one a line: `path: message`.
std::string to_text(const std::vector<JobError>& errors);

/// The table of hyperparameters for people: name, type and range, default, what it does.
std::string hyperparameter_help();

}  // namespace musher

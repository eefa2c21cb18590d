#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "job/hyperparameters.h"
#include "job/limits.h"
#include "job/metric_definitions.h"
#include "job/nearest.h"
#include "job/relations.h"
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
    if (errors_.size() == before) check_relations(request_, has_validation_, job_, errors_);
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

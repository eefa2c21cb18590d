#include "trainer/build.h"

#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/temporary_file.h"
#include "job/metric_goal.h"
#include "model/artifact.h"
#include "model/torchscript.h"
#include "model/trial.h"
#include "model/weights.h"
#include "storage/object_store.h"
#include "trainer/own_loss.h"
#include "trainer/trial_batch.h"

namespace musher {
namespace {

/// The whole object at `uri`: its folder opened as a store.
std::vector<std::byte> read_uri(const std::string& text, const StorageConfig& storage) {
  const Uri uri = Uri::parse(text);
  const std::size_t slash = uri.path.rfind('/');
  Uri folder = uri;
  folder.path = slash == std::string::npos ? "" : uri.path.substr(0, slash);
  return open_store(folder, storage)
      ->read(slash == std::string::npos ? uri.path : uri.path.substr(slash + 1));
}

std::string metrics_json(std::uint64_t step, bool stopped,
                         const std::vector<MetricPoint>& metrics) {
  nlohmann::ordered_json json = {{"step", step}, {"stopped", stopped}};
  for (const MetricPoint& point : metrics) json["metrics"][point.name] = point.value;
  return json.dump(2);
}

/// The built-in model with all that its name says, as ModelSpec and the artifact have it.
std::string full_name(const Hyperparameters& hyper) {
  if (hyper.model == "gpt") {
    return fmt::format("gpt:{},{},{}{}", hyper.gpt_layers, hyper.gpt_heads, hyper.gpt_width,
                       hyper.tied_embeddings ? "" : ",untied");
  }
  if (hyper.model != "multilayer_perceptron" ||
      hyper.hidden_widths == Hyperparameters{}.hidden_widths) {
    return hyper.model;
  }
  std::string name = hyper.model;
  for (const auto width : hyper.hidden_widths) {
    name += (name == hyper.model ? ":" : ",") + std::to_string(width);
  }
  return name;
}

ModelTrial trial_of(const Task& task, const SampleFormat& format) {
  const Batch batch = trial_batch(format.train->input_shape());
  std::vector<std::int64_t> outputs = {batch.samples()};
  outputs.insert(outputs.end(), format.model_output.begin(), format.model_output.end());
  return {task.examples(batch, c10::Device(c10::kCPU)).inputs.clone(), std::move(outputs)};
}

/// Which metrics there are beside the task's own is known once the user's module was tried.
void require_metric(const Task& task, const Hyperparameters& hyper) {
  const std::string name = parse_metric_goal(hyper.early_stopping_metric).name;
  if (name == "none") return;
  const std::string bare = name.substr(name.find(':') + 1);
  std::string known;
  for (const auto& [metric, value] : task.metrics({})) {
    if (metric == bare) return;
    known += (known.empty() ? "" : ", ") + metric;
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("HyperParameters.early_stopping_metric: loss_module {} returns no metric "
                          "{}; what there is: {}",
                          hyper.loss_module, bare, known));
}

}  // namespace

std::unique_ptr<Task> build_task(const Membership& membership, const SampleFormat& format) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  auto task = make_task(membership.job.task, hyper, membership.classes);
  if (hyper.loss_module.empty()) return task;
  task = with_own_loss(std::move(task), read_uri(hyper.loss_module, membership.storage),
                       hyper.loss_module, format.train->input_shape(), format.model_output);
  require_metric(*task, hyper);
  return task;
}

std::unique_ptr<Model> build_model(const Membership& membership, const SampleFormat& format,
                                   const Task& task, const AddedModels& added,
                                   std::string& report) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  ModelSpec spec;
  spec.name = full_name(hyper);
  spec.classes = format.model_output.back();
  spec.input_shape = format.model_input;
  spec.seed = hyper.seed;
  spec.head_widths = hyper.head_widths;
  spec.activation_checkpointing = hyper.activation_checkpointing;
  std::unique_ptr<Model> model;
  if (hyper.model.find("://") != std::string::npos) {
    const TemporaryFile file;
    const auto bytes = read_uri(hyper.model, membership.storage);
    std::ofstream(file.path(), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    try {
      model = load_torchscript(file.path(), trial_of(task, format));
    } catch (const Error& error) {
      throw Error(error.code(), hyper.model + ": " + error.what());
    }
  } else {
    model = make_model(spec, added, trial_of(task, format));
  }
  if (!hyper.initial_weights.empty()) {
    const auto bytes = read_uri(hyper.initial_weights, membership.storage);
    report = "initial weights " +
             load_weights(*model, read_weights(bytes, hyper.initial_weights), hyper.initial_weights,
                          hyper.match_by_name ? WeightMatch::kByName : WeightMatch::kStrict);
  }
  if (hyper.freeze_backbone) model->freeze_backbone();
  return model;
}

CheckpointIdentity checkpoint_identity(const Membership& membership, std::uint64_t fingerprint,
                                       const FlatParameters& parameters, Model& model) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  CheckpointIdentity identity;
  identity.model = fingerprint;
  identity.data = membership.train.fingerprint;
  identity.parameters = parameters.size();
  identity.batch_size = hyper.batch_size;
  identity.virtual_workers = static_cast<std::int64_t>(membership.virtual_worker_rank.size());
  identity.seed = hyper.seed;
  identity.optimizer = to_string(hyper.optimizer);
  if (hyper.freeze_backbone) identity.frozen = frozen_fingerprint(model);
  identity.average = hyper.ema_decay > 0;
  return identity;
}

void save_artifact(const Membership& membership, const SampleFormat& format, Model& model,
                   std::uint64_t step, bool stopped, const std::vector<MetricPoint>& metrics) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  ArtifactContents contents;
  contents.model_name = full_name(hyper);
  contents.input_shape = format.model_input;
  contents.classes = format.output_names;
  contents.num_classes = format.model_output.back();
  contents.head_widths = hyper.head_widths;
  contents.preprocessing_json = format.preprocessing_json;
  contents.metrics_json = metrics_json(step, stopped, metrics);
  const auto store = open_store(membership.job.output, membership.storage);
  write_artifact(*store, membership.job.name + "/output/model.tar.gz", model, contents);
}

}  // namespace musher

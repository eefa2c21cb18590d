// What training makes of a model's weights, for comparison with PyTorch's own:
//   training_probe MODEL FOLDER STEPS_PER_EPOCH [HYPERPARAMETER=VALUE…]
// begins with FOLDER/weights.safetensors, takes a step on each `inputs.<i>`, `targets.<i>` of
// FOLDER/batches.safetensors, and writes FOLDER/trained.safetensors: `<i>.<name>` for each
// parameter and buffer after step i, `average.<i>.<name>` likewise with ema_decay, and `rates`,
// [steps, 2] float64: learning rate and momentum
// (-1: the job's own), and `loss_scale` and `metrics.<name>`, [steps] float64, after each step. The
// hyperparameters are read as a job's are; `task` is AlgorithmName. Columns of a table are called
// "0", "1", …. One rank.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <ATen/Functions.h>

#include "common/checksum.h"
#include "common/error.h"
#include "job/hyperparameters.h"
#include "model/weights.h"
#include "storage/object_store.h"
#include "trainer/collective/collective.h"
#include "trainer/input/sample_format.h"
#include "trainer/own_loss.h"
#include "trainer/task.h"
#include "trainer/training_step.h"

namespace {

using namespace musher;

/// The one rank: a sum over ranks is what is there already.
class Alone : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::shared_ptr<void> allocate(std::size_t, Deadline) override { return nullptr; }
  std::unique_ptr<Work> all_reduce(Buffer) override {
    struct Done : Work {
      void wait(Deadline) override {}
    };
    return std::make_unique<Done>();
  }
  void broadcast(Buffer, int, Deadline) override {}
  void all_gather(Buffer, Buffer, Deadline) override {}
  std::string transport() const override { return "nothing"; }
  Collective& host() override { return *this; }
  std::optional<std::string> failure() override { return std::nullopt; }
  void abort() override {}
  std::unique_ptr<Collective> shrink(Deadline) override { return nullptr; }
  std::unique_ptr<Collective> grow(Newcomer*, Deadline) override { return nullptr; }
};

Safetensors read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return from_safetensors(std::as_bytes(std::span(text)), path);
}

struct Given {
  TaskKind task = TaskKind::kImageClassification;
  Hyperparameters hyper;
};

Given given_by(int count, char** arguments) {
  Given given;
  std::map<std::string, std::string> values;
  for (int i = 0; i < count; ++i) {
    const std::string text = arguments[i];
    const std::size_t equals = text.find('=');
    values[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const TaskInfo& task : tasks()) {
    if (values["task"] == task.name) given.task = task.kind;
  }
  values.erase("task");
  std::vector<JobError> errors;
  given.hyper = read_hyperparameters(values, errors);
  if (!errors.empty()) throw Error(ErrorCode::kInvalidArgument, to_text(errors));
  return given;
}

Batch batch_from(const Safetensors& batches, std::uint64_t step) {
  const at::Tensor inputs = batches.tensors.at("inputs." + std::to_string(step)).contiguous();
  const at::Tensor targets = batches.tensors.at("targets." + std::to_string(step)).contiguous();
  Batch batch;
  batch.step = step;
  batch.input_shape = inputs.sizes().slice(1).vec();
  const auto* numbers = inputs.data_ptr<float>();
  batch.inputs.assign(numbers, numbers + inputs.numel());
  const auto* classes = targets.data_ptr<std::int64_t>();
  batch.targets.assign(classes, classes + targets.numel());
  const auto bytes = std::as_bytes(std::span(batch.inputs));
  const std::size_t each = bytes.size() / static_cast<std::size_t>(batch.samples());
  for (std::int64_t i = 0; i < batch.samples(); ++i) {
    batch.keys.push_back(hash64(bytes.subspan(static_cast<std::size_t>(i) * each, each)));
    batch.digest.add(batch.keys.back(), 0);
  }
  return batch;
}

void add_all(NamedTensors& results, const std::string& prefix, const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors)
    results.emplace_back(prefix + name, tensor.detach().clone());
}

void probe(const std::string& name, const std::string& folder, std::uint64_t steps_per_epoch,
           const Given& given) {
  const Hyperparameters& hyper = given.hyper;
  const Safetensors batches = read(folder + "/batches.safetensors");
  const std::uint64_t steps = batches.tensors.size() / 2;
  const auto shape = batches.tensors.at("inputs.0").sizes().slice(1).vec();
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < shape[0]; ++i) names.push_back(std::to_string(i));
  const bool images = given.task == TaskKind::kImageClassification;
  const SampleFormat format = sample_format(given.task, hyper, names);
  const auto model = make_model({.name = name,
                                 .classes = format.model_output.back(),
                                 .input_shape = images ? shape : format.model_input,
                                 .seed = hyper.seed,
                                 .head_widths = hyper.head_widths,
                                 .activation_checkpointing = hyper.activation_checkpointing});
  load_weights(*model, read(folder + "/weights.safetensors"), folder + "/weights.safetensors");
  if (hyper.freeze_backbone) model->freeze_backbone();
  auto task = make_task(given.task, hyper, names);
  if (!hyper.loss_module.empty()) {
    const std::string path = Uri::parse(hyper.loss_module).path;
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    task = with_own_loss(std::move(task), std::as_bytes(std::span(text)), hyper.loss_module,
                         images ? shape : format.train->input_shape(), format.model_output);
  }
  TrainingStep training(*model, *task, hyper, {});
  Alone collective;

  NamedTensors results;
  at::Tensor all_rates = at::empty({static_cast<std::int64_t>(steps), 2}, at::kDouble);
  std::map<std::string, at::Tensor> metrics;
  const at::Tensor loss_scales = at::empty({static_cast<std::int64_t>(steps)}, at::kDouble);
  for (std::uint64_t step = 0; step < steps; ++step) {
    const StepRates rates = step_rates(hyper, step, steps_per_epoch);
    at::Tensor row = all_rates[static_cast<std::int64_t>(step)];
    row[0].fill_(rates.learning_rate);
    row[1].fill_(rates.momentum.value_or(-1));
    const Batch batch = batch_from(batches, step);
    StepVector mine;
    mine.digest = batch.digest;
    const StepVector sum =
        training.run(batch, mine, rates, collective, Deadline::after(std::chrono::seconds(60)));
    for (const auto& [metric, value] :
         task->metrics({sum.digest.samples, sum.loss_sum, sum.measures})) {
      at::Tensor& all = metrics.try_emplace(metric, at::empty_like(loss_scales)).first->second;
      all[static_cast<std::int64_t>(step)].fill_(value);
    }
    loss_scales[static_cast<std::int64_t>(step)].fill_(training.optimizer().loss_scale().scale);
    const std::string prefix = std::to_string(step) + ".";
    add_all(results, prefix, model->parameters());
    add_all(results, prefix, model->buffers());
    if (training.average() == nullptr) continue;
    const UsingAverage using_average(training.average());
    add_all(results, "average." + prefix, model->parameters());
    add_all(results, "average." + prefix, model->buffers());
  }
  results.emplace_back("rates", all_rates);
  results.emplace_back("loss_scale", loss_scales);
  for (const auto& [metric, values] : metrics) results.emplace_back("metrics." + metric, values);
  open_store(Uri::parse("file://" + folder), {})
      ->put("trained.safetensors", to_safetensors(results));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 4)
      throw Error(ErrorCode::kInvalidArgument,
                  "training_probe MODEL FOLDER STEPS_PER_EPOCH [NAME=VALUE…]");
    probe(argv[1], argv[2], std::stoull(argv[3]), given_by(argc - 4, argv + 4));
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}

// What checkpoints cost a rank's training, in one run under mpirun: windows of steps, in turns with
// a checkpoint that begins with the window and without one. What a shared machine does meanwhile
// meets neighbouring windows alike, so each window with a checkpoint is compared with those before
// and after it. Rank 0 prints one line of JSON.

#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "model/model.h"
#include "storage/object_store.h"
#include "synthetic_batch.h"
#include "trainer/checkpoint.h"
#include "trainer/collective/mpi.h"
#include "trainer/memory.h"
#include "trainer/training_step.h"

namespace musher {
namespace {

struct Options {
  std::string model, store;
  std::vector<std::int64_t> shape;
  std::int64_t batch = 16;
  int window = 10;
  int checkpoints = 5;
};

constexpr std::int64_t kClasses = 133;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(120));
}

/// One rank's training on one batch, again and again.
class Rank {
 public:
  Rank(const Options& options, Collective& collective)
      : collective_(collective),
        model_(make_model(
            {.name = options.model, .classes = kClasses, .input_shape = options.shape, .seed = 1})),
        batch_(synthetic_batch(options.shape, options.batch, kClasses, collective.rank())) {
    Hyperparameters hyper;
    hyper.momentum = 0.9;
    const std::int64_t elements = FlatParameters::gradient_elements(*model_, StepVector::kElements);
    memory_ = collective.allocate(static_cast<std::size_t>(elements) * sizeof(float), soon());
    TrainingStep::Options step_options;
    step_options.gradient_memory = at::from_blob(memory_.get(), {elements}, at::kFloat);
    hyper.num_classes = kClasses;
    task_ = make_task(TaskKind::kImageClassification, hyper, {});
    step_.emplace(*model_, *task_, hyper, step_options);
    mine_.digest = batch_.digest;
  }

  void train() {
    batch_.step = state_.step++;
    step_->run(batch_, mine_, 0.001, collective_, soon());
  }

  void save(CheckpointWriter& writer) {
    writer.save(state_, "benchmark.1.1", {collective_.rank(), collective_.size()},
                step_->tensors());
  }

 private:
  Collective& collective_;
  std::unique_ptr<Model> model_;
  Batch batch_;
  std::shared_ptr<void> memory_;
  std::unique_ptr<Task> task_;
  std::optional<TrainingStep> step_;
  StepVector mine_;
  TrainingState state_;
};

/// Whether a rank still writes; the same on all.
bool any_busy(const CheckpointWriter& writer, Collective& collective) {
  float busy = writer.busy() ? 1 : 0;
  collective.all_reduce({&busy, 1, DType::kFloat32})->wait(soon());
  return busy > 0;
}

struct Window {
  int steps = 0;
  double seconds = 0;
};

/// At least `least` steps; a checkpoint that is still being written at their end is waited for by
/// more of them, so that its whole cost is in the window.
template <typename Begin>
Window train_window(Rank& rank, int least, const CheckpointWriter& writer, Collective& collective,
                    Begin begin) {
  Window window;
  const auto started = std::chrono::steady_clock::now();
  begin();
  do {
    rank.train();
    ++window.steps;
  } while (any_busy(writer, collective) || window.steps < least);
  window.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return window;
}

void run(const Options& options, Collective& collective) {
  at::set_num_threads(1);
  Rank rank(options, collective);
  const auto store = open_store(Uri::parse(options.store), StorageConfig::from_environment());
  const CheckpointWriter::Listener listener{
      [&](const SliceWritten& slice) { store->remove(slice.checkpoint + "/" + slice.key); },
      [](const std::string& what) { std::cerr << what << std::endl; }};
  CheckpointWriter writer(*store, {}, listener);
  const auto plain = [&] { return train_window(rank, options.window, writer, collective, [] {}); };
  const auto saving = [&] {
    return train_window(rank, options.window, writer, collective, [&] { rank.save(writer); });
  };

  plain();
  saving();  // the snapshot's memory is there from now on
  nlohmann::ordered_json slowdowns = nlohmann::ordered_json::array();
  double step_seconds = 0;
  Window before = plain();
  for (int i = 0; i < options.checkpoints; ++i) {
    const Window with = saving();
    const Window after = plain();
    const double step = (before.seconds + after.seconds) / (before.steps + after.steps);
    slowdowns.push_back((with.seconds - with.steps * step) / (options.window * step));
    step_seconds += step / options.checkpoints;
    before = after;
  }
  if (collective.rank() != 0) return;
  nlohmann::ordered_json json;
  json["model"] = options.model;
  json["step_seconds"] = step_seconds;
  json["slowdowns"] = slowdowns;
  std::cout << json.dump() << std::endl;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  namespace po = boost::program_options;
  musher::Options options;
  po::options_description description("checkpoint_benchmark, under mpirun");
  auto add = description.add_options();
  add("help", "print this");
  add("model", po::value(&options.model)->required(), "as in a job's hyperparameter `model`");
  add("shape", po::value(&options.shape)->multitoken()->required(),
      "of one sample: channels height width");
  add("store", po::value(&options.store)->required(), "where checkpoints go, s3:// or file://");
  add("batch", po::value(&options.batch), "samples a rank");
  add("window", po::value(&options.window), "steps from one checkpoint to the next");
  add("checkpoints", po::value(&options.checkpoints), "measured");
  try {
    po::variables_map map;
    po::store(po::parse_command_line(argc, argv, description), map);
    if (map.count("help") != 0) {
      std::cout << description;
      return 0;
    }
    po::notify(map);
    musher::keep_freed_memory();
    musher::MpiRuntime mpi;
    const auto collective = musher::make_mpi_collective(mpi, {}, musher::soon());
    musher::run(options, *collective);
  } catch (const std::exception& error) {
    std::cerr << "checkpoint_benchmark: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}

// One rank of a training benchmark over synthetic data held in memory, started by mpirun: Musher's
// own step (forward, backward, overlapped all-reduce, fused optimizer) and nothing else, so that it
// can stand beside a peer's training loop. Rank 0 prints one line of JSON.

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <numeric>
#include <string>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "model/model.h"
#include "synthetic_batch.h"
#include "trainer/collective/mpi.h"
#include "trainer/memory.h"
#include "trainer/training_step.h"

namespace musher {
namespace {

struct Options {
  std::string model;
  std::vector<std::int64_t> shape;
  std::int64_t batch = 16;
  std::int64_t classes = 133;
  int warmup = 3;
  int steps = 20;
  double launched = 0;
  std::int64_t bucket_mib = 4;
};

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Deadline soon() {
  return Deadline::after(std::chrono::seconds(120));
}

/// VmHWM, in MiB.
double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") {
      double kib = 0;
      status >> kib;
      return kib / 1024;
    }
  }
  return 0;
}

/// Of this process, all threads, user and system, in seconds. Beside other work on the machine it
/// says more than the clock.
double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// The number of every rank.
std::vector<double> all_of(Collective& collective, double mine) {
  std::vector<double> all(static_cast<std::size_t>(collective.size()));
  collective.all_gather({&mine, 1, DType::kFloat64}, {all.data(), all.size(), DType::kFloat64},
                        soon());
  return all;
}

void run(const Options& options, Collective& collective) {
  at::set_num_threads(1);
  const auto model = make_model(
      {.name = options.model, .classes = options.classes, .input_shape = options.shape, .seed = 1});
  Hyperparameters hyper;
  hyper.momentum = 0.9;
  hyper.weight_decay = 1e-4;
  TrainingStep::Options step_options;
  step_options.bucket_bytes = options.bucket_mib << 20;
  const std::int64_t elements = FlatParameters::gradient_elements(*model, StepVector::kElements);
  const auto memory =
      collective.allocate(static_cast<std::size_t>(elements) * sizeof(float), soon());
  step_options.gradient_memory = at::from_blob(memory.get(), {elements}, at::kFloat);
  hyper.num_classes = options.classes;
  const auto task = make_task(TaskKind::kImageClassification, hyper, {});
  TrainingStep step(*model, *task, hyper, step_options);

  Batch batch = synthetic_batch(options.shape, options.batch, options.classes, collective.rank());
  StepVector mine;
  mine.digest = batch.digest;
  double first_step = 0;
  double started = 0;
  double cpu_started = 0;
  StepTimes before;
  StepVector sum;
  for (int i = 0; i < options.warmup + options.steps; ++i) {
    if (i == options.warmup) {
      started = now();
      cpu_started = cpu_seconds();
      before = step.times();
    }
    batch.step = static_cast<std::uint64_t>(i);
    sum = step.run(batch, mine, 0.01, collective, soon());
    if (i == 0) first_step = now();
  }
  const double seconds = now() - started;
  const double cpu = cpu_seconds() - cpu_started;
  const std::vector<double> cpus = all_of(collective, cpu);
  const std::vector<double> peaks = all_of(collective, peak_memory());
  if (collective.rank() != 0) return;
  const StepTimes& times = step.times();
  const double count = options.steps;
  nlohmann::ordered_json json;
  json["model"] = options.model;
  json["ranks"] = collective.size();
  json["samples_per_second"] = count * static_cast<double>(sum.digest.samples) / seconds;
  json["cpu_milliseconds_per_step"] =
      std::accumulate(cpus.begin(), cpus.end(), 0.0) / collective.size() / count * 1e3;
  json["seconds_to_first_step"] = options.launched > 0 ? first_step - options.launched : 0;
  json["peak_mib_per_rank"] = *std::max_element(peaks.begin(), peaks.end());
  json["loss"] = sum.loss_sum / static_cast<double>(sum.digest.samples);
  json["milliseconds_per_step"] = {
      {"forward", (times.forward - before.forward) / count * 1e3},
      {"backward", (times.backward - before.backward) / count * 1e3},
      {"reduce", (times.reduce - before.reduce) / count * 1e3},
      {"optimizer", (times.optimizer - before.optimizer) / count * 1e3}};
  std::cout << json.dump() << std::endl;
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  namespace po = boost::program_options;
  musher::Options options;
  po::options_description description("training_benchmark, under mpirun");
  auto add = description.add_options();
  add("help", "print this");
  add("model", po::value(&options.model)->required(), "as in a job's hyperparameter `model`");
  add("shape", po::value(&options.shape)->multitoken()->required(),
      "of one sample: channels height width");
  add("batch", po::value(&options.batch), "samples a rank");
  add("classes", po::value(&options.classes), "outputs");
  add("warmup", po::value(&options.warmup), "steps not counted");
  add("steps", po::value(&options.steps), "steps counted");
  add("bucket-mib", po::value(&options.bucket_mib), "size of a gradient bucket");
  add("launched", po::value(&options.launched),
      "seconds since the epoch when the launcher was started");
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
    std::cerr << "training_benchmark: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}

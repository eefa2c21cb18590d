// One rank of a run over synthetic data, started by mpirun from gradient_check_test.py: trains a
// few steps on global batches that do not depend on the number of ranks, and rank 0 writes the
// parameters as raw float32.
//
//   gradient_check MODEL OUT [CHANNELS SIZE [HYPERPARAMETER=VALUE…]]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>

#include "common/random.h"
#include "job/hyperparameters.h"
#include "model/model.h"
#include "trainer/collective/mpi.h"
#include "trainer/training_step.h"

namespace musher {
namespace {

constexpr std::int64_t kVirtualWorkers = 8;
constexpr std::int64_t kClasses = 10;
constexpr int kSteps = 4;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

/// The samples of virtual workers [first, last); in the last step they have 2, 1 or 0 samples each,
/// before that 3.
Batch make_batch(int step, std::int64_t first, std::int64_t last,
                 const std::vector<std::int64_t>& shape) {
  Batch batch;
  batch.step = static_cast<std::uint64_t>(step);
  batch.input_shape = shape;
  const std::int64_t numbers = shape[0] * shape[1] * shape[2];
  for (std::int64_t worker = first; worker < last; ++worker) {
    const std::int64_t count = step + 1 < kSteps ? 3 : std::max<std::int64_t>(0, 2 - worker / 3);
    for (std::int64_t i = 0; i < count; ++i) {
      Random random{static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(worker),
                    static_cast<std::uint64_t>(i)};
      for (std::int64_t k = 0; k < numbers; ++k)
        batch.inputs.push_back(static_cast<float>(random.uniform(-1, 1)));
      batch.targets.push_back(static_cast<std::int64_t>(random.below(kClasses)));
      batch.digest.add(random.next(), 0);
    }
  }
  return batch;
}

Hyperparameters hyperparameters_from(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> values = {{"momentum", "0.9"}, {"weight_decay", "0.0001"}};
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    values[text.substr(0, equals)] = text.substr(equals + 1);
  }
  std::vector<JobError> errors;
  const Hyperparameters hyper = read_hyperparameters(values, errors);
  if (errors.empty()) return hyper;
  std::cerr << to_text(errors) << std::endl;
  std::exit(2);
}

void run(const std::string& name, const std::string& out, const std::vector<std::int64_t>& shape,
         const Hyperparameters& hyper, Collective& collective) {
  at::set_num_threads(1);
  const auto model = make_model({.name = name,
                                 .classes = kClasses,
                                 .input_shape = shape,
                                 .seed = 11,
                                 .activation_checkpointing = hyper.activation_checkpointing});
  TrainingStep::Options options;
  options.bucket_bytes = 64 << 10;  // many buckets even in a small model
  const std::int64_t elements = FlatParameters::gradient_elements(*model, StepVector::kElements);
  const auto memory =
      collective.allocate(static_cast<std::size_t>(elements) * sizeof(float), soon());
  options.gradient_memory = at::from_blob(memory.get(), {elements}, at::kFloat);
  Hyperparameters with_classes = hyper;
  with_classes.num_classes = kClasses;
  const auto task = make_task(TaskKind::kImageClassification, with_classes, {});
  TrainingStep step(*model, *task, hyper, options);

  const std::int64_t first = kVirtualWorkers * collective.rank() / collective.size();
  const std::int64_t last = kVirtualWorkers * (collective.rank() + 1) / collective.size();
  for (int i = 0; i < kSteps; ++i) {
    const Batch whole = make_batch(i, 0, kVirtualWorkers, shape);
    const Batch mine = make_batch(i, first, last, shape);
    StepVector vector;
    vector.digest = mine.digest;
    const StepVector sum = step.run(mine, vector, 0.05, collective, soon());
    if (sum.digest != whole.digest) {
      std::cerr << "step " << i << ": the digest is not that of the global batch" << std::endl;
      std::exit(1);
    }
  }
  if (collective.rank() != 0) return;
  const auto& values = step.parameters().values();
  std::ofstream(out, std::ios::binary)
      .write(static_cast<const char*>(values.data_ptr()),
             values.numel() * static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::int64_t channels = arguments.size() > 2 ? std::stol(arguments[2]) : 1;
  const std::int64_t size = arguments.size() > 3 ? std::stol(arguments[3]) : 28;
  const std::vector<std::string> hyperparameters(
      arguments.begin() + std::min<std::ptrdiff_t>(4, std::ssize(arguments)), arguments.end());
  musher::MpiRuntime mpi;
  const auto collective = musher::make_mpi_collective(mpi, {}, musher::soon());
  musher::run(arguments.at(0), arguments.at(1), {channels, size, size},
              musher::hyperparameters_from(hyperparameters), *collective);
  return 0;
}

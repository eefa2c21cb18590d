#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <ATen/Functions.h>
#include <unistd.h>

#include "commit_slices.h"
#include "job/job.h"
#include "model/model.h"
#include "trainer/checkpoint.h"

namespace musher::test {

/// A folder that is gone when it goes out of scope.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "checkpoint-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no scratch folder");
    path_ = pattern;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// What one rank trains: a small model, its flat buffers, its
/// optimizer. `fill` makes it the state of some step, different for each.
struct Rank {
  std::unique_ptr<Model> model =
      make_model({.name = "convnet", .classes = 3, .input_shape = {1, 16, 16}, .seed = 5});
  FlatParameters parameters{*model, 0};
  Hyperparameters hyper = [] {
    Hyperparameters with_loss_scale;
    with_loss_scale.precision = Precision::kFloat16;
    return with_loss_scale;
  }();
  Optimizer optimizer{hyper, parameters};
  WeightAverage average{parameters, *model, 0.9};

  StateTensors tensors() { return state_tensors(parameters, optimizer, *model, &average); }
  void fill(double value) {
    for (auto& [name, tensor] : tensors().flat) tensor.fill_(value + 0.5);
    for (auto& [name, buffer] : tensors().own) buffer.fill_(value + 0.25);
    parameters.values().fill_(value);
  }
  double value() const { return parameters.values()[0].item<double>(); }
  /// Every element is that of the state that fill(value) makes.
  bool is(double value) {
    bool same = parameters.values().eq(value).all().item<bool>();
    for (auto& [name, tensor] : tensors().flat) {
      same = same && (name == "values" || tensor.eq(value + 0.5).all().item<bool>());
    }
    for (auto& [name, buffer] : tensors().own) {
      same = same && buffer.eq(at::full_like(buffer, value + 0.25)).all().item<bool>();
    }
    return same;
  }
};

inline CheckpointIdentity identity() {
  return {.model = 1,
          .data = 2,
          .parameters = 3,
          .batch_size = 4,
          .virtual_workers = 5,
          .seed = 6,
          .optimizer = "sgd"};
}

/// One step was skipped.
inline OptimizerProgress progress_at(std::uint64_t step) {
  return {static_cast<std::int64_t>(step) - 1, {512.0 * static_cast<double>(step), 7}};
}

/// The state of `step` written by `ranks` ranks, one after the other; the slices that were told of.
inline std::vector<SliceWritten> save(ObjectStore& store, std::uint64_t step, int ranks,
                                      std::vector<std::string>* failures = nullptr) {
  std::vector<SliceWritten> slices;
  for (int rank = 0; rank < ranks; ++rank) {
    Rank one;
    one.fill(static_cast<double>(step));
    CheckpointWriter writer(store, identity(),
                            {[&](const SliceWritten& slice) { slices.push_back(slice); },
                             [&](const std::string& text) {
                               if (failures != nullptr) failures->push_back(text);
                             }});
    TrainingState state;
    state.step = step;
    state.tally = {{step, 7 * step}, {1, 2}, 0.5, {3}};
    state.optimizer = progress_at(step);
    state.samples_trained = 10 * step + static_cast<std::uint64_t>(rank);
    writer.save(state, "job.1.1", {rank, ranks}, one.tensors());
    writer.wait();
  }
  return slices;
}

}  // namespace musher::test

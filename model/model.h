#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/gradient_places.h"

namespace musher {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Replaces a float64 tensor, contiguous, by its sum over ranks. What it throws goes through
/// forward and backward unchanged.
using SumOverRanks = std::function<void(at::Tensor)>;

/// Takes bytes in order; may throw, which ends the writing.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// A network that the engine can train: built-in (torch::nn) or a user's TorchScript file. Not
/// thread-safe; parameters and buffers are shared with whoever asked for them, so that writing to
/// one changes the model.
class Model {
 public:
  virtual ~Model() = default;

  /// [N, …] → logits [N, classes]. Autograd follows the calling thread's mode.
  virtual at::Tensor forward(const at::Tensor& inputs) = 0;

  /// In a fixed order, the same in every process, under torchvision's names for built-in models.
  virtual NamedTensors parameters() = 0;
  virtual NamedTensors buffers() = 0;

  /// Where its layers look for places of their gradients; null where none does.
  virtual GradientPlaces* gradient_places() { return nullptr; }

  /// What the names of the head's parameters begin with; empty where it is not known.
  virtual std::string head_prefix() const { return {}; }

  /// Only the head learns from now on: the other parameters require no gradients, and forward runs
  /// the layers before the head without autograd and as in evaluation mode. Before anything holds
  /// its parameters. kInvalidArgument where the model has no head that it knows of.
  virtual void freeze_backbone();

  /// From now on batch-norm takes its statistics in training over the batches of all ranks: each
  /// forward and each backward pass asks `sum` several times, on every rank alike, so that a rank
  /// without samples must pass an empty batch. kInvalidArgument where the model has no batch-norm
  /// that it can do so with.
  virtual void synchronize_batch_norm(SumOverRanks sum);

  /// forward(inputs) is head(features(inputs)); only where has_features().
  virtual bool has_features() const { return false; }
  virtual at::Tensor features(const at::Tensor& inputs);
  virtual at::Tensor head(const at::Tensor& features);

  /// Training or evaluation mode (batch-norm, dropout).
  virtual void train(bool on) = 0;

  /// `script` when write_script() makes sense, i.e. a TorchScript model.
  virtual bool is_script() const = 0;
  /// The bytes of the TorchScript file with the present weights, the same at each call. REQUIRES:
  /// is_script().
  virtual void write_script(const ByteSink& sink) const = 0;
};

struct ModelSpec {
  /// convnet, multilayer_perceptron (hidden layers of 512, 512) or with widths
  /// multilayer_perceptron:4096,4096, resnet18, resnet34, resnet50, or the local path of a
  /// TorchScript file.
  std::string name;
  std::int64_t classes = 0;
  std::vector<std::int64_t> input_shape;  ///< of one sample
  std::uint64_t seed = 0;                 ///< of the initial weights: the same on every rank
  /// Widths of hidden layers, each with a ReLU, between a ResNet's features and its logits.
  std::vector<std::int64_t> head_widths = {};
  /// Of a ResNet: backward runs each residual block's forward again instead of keeping what is in
  /// it.
  bool activation_checkpointing = false;
};

/// kInvalidArgument for a name that is none of these, and for head_widths of another model; for a
/// TorchScript file, whether it takes input_shape and returns [N, classes] is tried once.
std::unique_ptr<Model> make_model(const ModelSpec& spec);

/// A hash of names, shapes and dtypes of parameters and buffers: checkpoints of another model are
/// told by it.
std::uint64_t model_fingerprint(Model& model);

/// A hash of the contents of the parameters that require no gradients, which no checkpoint holds.
std::uint64_t frozen_fingerprint(Model& model);

}  // namespace musher

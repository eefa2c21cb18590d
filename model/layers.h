#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include "model/gradient_places.h"
#include "model/model.h"

namespace musher {

/// The parameters and buffers of a built-in model in the order in which its layers were made.
/// Initial values are a function of (seed, name) alone: the same on every rank, and LibTorch's
/// global generator is neither read nor moved.
class TensorTable {
 public:
  explicit TensorTable(std::uint64_t seed) : seed_(seed) {}

  at::Tensor normal(const std::string& name, at::IntArrayRef shape, double deviation);
  at::Tensor uniform(const std::string& name, at::IntArrayRef shape, double bound);
  at::Tensor constant(const std::string& name, at::IntArrayRef shape, double value);
  at::Tensor buffer(const std::string& name, const at::Tensor& value);

  const NamedTensors& parameters() const { return parameters_; }
  const NamedTensors& buffers() const { return buffers_; }
  /// For layers to keep: of the parameters made here.
  const std::shared_ptr<GradientPlaces>& places() const { return places_; }
  /// For batch-norm layers to keep; empty until the model is to synchronize them.
  const std::shared_ptr<SumOverRanks>& sum_over_ranks() const { return sum_over_ranks_; }

 private:
  at::Tensor parameter(const std::string& name, at::Tensor value);

  std::uint64_t seed_;
  NamedTensors parameters_;
  NamedTensors buffers_;
  std::shared_ptr<GradientPlaces> places_ = std::make_shared<GradientPlaces>();
  std::shared_ptr<SumOverRanks> sum_over_ranks_ = std::make_shared<SumOverRanks>();
};

/// A built-in model's common half: its tensors and its mode.
class BuiltInModel : public Model {
 public:
  NamedTensors parameters() override { return tensors_.parameters(); }
  NamedTensors buffers() override { return tensors_.buffers(); }
  GradientPlaces* gradient_places() override { return tensors_.places().get(); }
  void train(bool on) override { training_ = on; }
  bool is_script() const override { return false; }
  void freeze_backbone() override;
  bool has_features() const override { return true; }
  at::Tensor forward(const at::Tensor& inputs) final { return head(features(inputs)); }
  void write_script(const ByteSink& sink) const override;
  std::string head_prefix() const override = 0;

 protected:
  explicit BuiltInModel(std::uint64_t seed) : tensors_(seed) {}

  /// Whether layers before the head are to be as in training.
  bool backbone_trains() const { return training_ && !frozen_; }
  bool synchronized() const { return static_cast<bool>(*tensors_.sum_over_ranks()); }

  TensorTable tensors_;
  bool training_ = true;
  bool frozen_ = false;
};

/// No autograd for as long as it lives, if `frozen`.
class FrozenGuard {
 public:
  explicit FrozenGuard(bool frozen) {
    if (frozen) no_grad_.emplace();
  }

 private:
  std::optional<at::NoGradGuard> no_grad_;
};

/// Images in the layout of oneDNN's own kernels, where that may be used: float32 on a CPU, without
/// Autocast. The
/// layers between blocked() and plain() then hand it on, and none reorders its input and output: a
/// step of ResNet-18 takes a seventh less, one of the convnet nearly half, the numbers being the
/// same to rounding. Elsewhere `x` itself.
at::Tensor blocked(const at::Tensor& x);
/// Back in PyTorch's layout; `x` itself where it is in that.
at::Tensor plain(const at::Tensor& x);

/// Square kernel; `<name>.weight` [out, in, k, k] and, with bias, `<name>.bias` [out].
struct Convolution {
  enum class Initial {
    kFanOut,  ///< He et al. 2015 by fan-out, as torchvision's ResNets
    kFanIn,   ///< He et al. 2015 by fan-in
  };
  struct Options {
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::int64_t kernel = 3;
    std::int64_t stride = 1;
    std::int64_t padding = 0;
    bool bias = false;
    Initial initial = Initial::kFanOut;
  };

  Convolution(TensorTable& tensors, const std::string& name, const Options& options);
  at::Tensor forward(const at::Tensor& x) const;

  at::Tensor weight;
  at::Tensor bias;  ///< undefined without
  std::int64_t stride;
  std::int64_t padding;
};

/// How batch-norm runs.
enum class NormMode {
  kEvaluation,
  kTraining,
  kTrainingAgain,  ///< as kTraining, but the running statistics have had this batch already
};

/// Over [N, C, H, W], momentum 0.1 and epsilon 1e-5 as in PyTorch.
struct BatchNorm {
  BatchNorm(TensorTable& tensors, const std::string& name, std::int64_t channels);
  at::Tensor forward(const at::Tensor& x, NormMode mode) const;

  at::Tensor weight;
  at::Tensor bias;
  at::Tensor running_mean;
  at::Tensor running_var;
  at::Tensor batches;                 ///< int64 scalar
  std::shared_ptr<SumOverRanks> sum;  ///< empty: a rank's own statistics
};

struct Linear {
  enum class Initial {
    kTorch,  ///< torch.nn.Linear's own: uniform within 1/√in, the bias too
    kFanIn,  ///< He et al. 2015 by fan-in, bias 0: before a ReLU
    kSmall,  ///< deviation 0.01, bias 0: logits start near 0, the loss near ln(classes)
  };
  Linear(TensorTable& tensors, const std::string& name, std::int64_t in, std::int64_t out,
         Initial initial);
  at::Tensor forward(const at::Tensor& x) const;

  at::Tensor weight;
  at::Tensor bias;
  std::shared_ptr<GradientPlaces> places;
};

/// [C, H, W] with all at least 1, else kInvalidArgument naming `model`.
void require_image(const ModelSpec& spec);

}  // namespace musher

#include "model/layers.h"

#include <cmath>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

#include "common/checksum.h"
#include "common/error.h"
#include "model/autocast.h"
#include "model/linear_function.h"
#include "model/synchronized_batch_norm.h"

namespace musher {

at::Tensor TensorTable::parameter(const std::string& name, at::Tensor value) {
  value.requires_grad_(true);
  parameters_.emplace_back(name, value);
  return value;
}

at::Tensor TensorTable::normal(const std::string& name, at::IntArrayRef shape, double deviation) {
  auto generator = at::detail::createCPUGenerator(hash64(name, seed_));
  return parameter(name, at::empty(shape, at::kFloat).normal_(0.0, deviation, generator));
}

at::Tensor TensorTable::uniform(const std::string& name, at::IntArrayRef shape, double bound) {
  auto generator = at::detail::createCPUGenerator(hash64(name, seed_));
  return parameter(name, at::empty(shape, at::kFloat).uniform_(-bound, bound, generator));
}

at::Tensor TensorTable::constant(const std::string& name, at::IntArrayRef shape, double value) {
  return parameter(name, at::full(shape, value, at::kFloat));
}

at::Tensor TensorTable::buffer(const std::string& name, const at::Tensor& value) {
  buffers_.emplace_back(name, value);
  return value;
}

void BuiltInModel::write_script(const ByteSink&) const {
  throw Error(ErrorCode::kInternal, "write_script: a built-in model has no TorchScript form");
}

void BuiltInModel::freeze_backbone() {
  const std::string head = head_prefix();
  for (const auto& [name, parameter] : tensors_.parameters()) {
    if (!name.starts_with(head)) parameter.set_requires_grad(false);
  }
  frozen_ = true;
}

at::Tensor blocked(const at::Tensor& x) {
  const bool possible = x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                        at::globalContext().userEnabledMkldnn() && at::hasMKLDNN() &&
                        !autocast_dtype(at::kCPU);
  return possible ? x.to_mkldnn() : x;
}

at::Tensor plain(const at::Tensor& x) {
  return x.is_mkldnn() ? x.to_dense() : x;
}

Convolution::Convolution(TensorTable& tensors, const std::string& name, const Options& options)
    : stride(options.stride), padding(options.padding) {
  const auto channels = options.initial == Initial::kFanOut ? options.out : options.in;
  const double fan = static_cast<double>(channels * options.kernel * options.kernel);
  weight =
      tensors.normal(name + ".weight", {options.out, options.in, options.kernel, options.kernel},
                     std::sqrt(2.0 / fan));
  if (options.bias) bias = tensors.constant(name + ".bias", {options.out}, 0.0);
}

at::Tensor Convolution::forward(const at::Tensor& x) const {
  return at::conv2d(x, weight, bias, stride, padding);
}

BatchNorm::BatchNorm(TensorTable& tensors, const std::string& name, std::int64_t channels)
    : weight(tensors.constant(name + ".weight", {channels}, 1.0)),
      bias(tensors.constant(name + ".bias", {channels}, 0.0)),
      running_mean(tensors.buffer(name + ".running_mean", at::zeros({channels}, at::kFloat))),
      running_var(tensors.buffer(name + ".running_var", at::ones({channels}, at::kFloat))),
      batches(tensors.buffer(name + ".num_batches_tracked", at::zeros({}, at::kLong))),
      sum(tensors.sum_over_ranks()) {}

at::Tensor BatchNorm::forward(const at::Tensor& x, NormMode mode) const {
  constexpr double kMomentum = 0.1;
  constexpr double kEpsilon = 1e-5;
  const bool training = mode != NormMode::kEvaluation;
  const bool counts = mode == NormMode::kTraining;
  if (counts) {
    const at::NoGradGuard no_grad;
    at::Tensor count = batches;
    count.add_(1);
  }
  if (training && *sum) {
    return synchronized_batch_norm(x, weight, bias, counts ? running_mean : at::Tensor(),
                                   counts ? running_var : at::Tensor(), kMomentum, kEpsilon, *sum);
  }
  // Copies take what this batch would do to the statistics once more.
  const bool again = training && !counts;
  return at::batch_norm(x, weight, bias, again ? running_mean.clone() : running_mean,
                        again ? running_var.clone() : running_var, training, kMomentum, kEpsilon,
                        true);
}

Linear::Linear(TensorTable& tensors, const std::string& name, std::int64_t in, std::int64_t out,
               Initial initial)
    : places(tensors.places()) {
  const double fan = static_cast<double>(in);
  if (initial == Initial::kTorch) {
    weight = tensors.uniform(name + ".weight", {out, in}, 1.0 / std::sqrt(fan));
    bias = tensors.uniform(name + ".bias", {out}, 1.0 / std::sqrt(fan));
    return;
  }
  const double deviation = initial == Initial::kFanIn ? std::sqrt(2.0 / fan) : 0.01;
  weight = tensors.normal(name + ".weight", {out, in}, deviation);
  bias = tensors.constant(name + ".bias", {out}, 0.0);
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  return linear(x, weight, bias, places);
}

void require_image(const ModelSpec& spec) {
  bool image = spec.input_shape.size() == 3;
  for (const auto size : spec.input_shape) image = image && size > 0;
  if (image) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("model {} takes images of shape [channels, height, width], not [{}]",
                          spec.name, fmt::join(spec.input_shape, ", ")));
}

}  // namespace musher

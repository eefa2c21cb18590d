#include "model/convnet.h"

#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::int64_t kHidden = 128;

Convolution::Options convolution(std::int64_t in, std::int64_t out) {
  return {.in = in,
          .out = out,
          .kernel = 3,
          .stride = 1,
          .padding = 1,
          .bias = true,
          .initial = Convolution::Initial::kFanIn};
}

std::int64_t channels_of(const ModelSpec& spec) {
  require_image(spec);
  if (spec.input_shape[1] < 4 || spec.input_shape[2] < 4) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("model convnet takes images of at least 4×4 pixels, not {}×{}",
                            spec.input_shape[1], spec.input_shape[2]));
  }
  return spec.input_shape[0];
}

}  // namespace

ConvNet::ConvNet(const ModelSpec& spec)
    : BuiltInModel(spec.seed),
      first_(tensors_, "features.0", convolution(channels_of(spec), 16)),
      second_(tensors_, "features.3", convolution(16, 32)),
      third_(tensors_, "features.6", convolution(32, 64)),
      hidden_(tensors_, "classifier.0", 64 * (spec.input_shape[1] / 4) * (spec.input_shape[2] / 4),
              kHidden, Linear::Initial::kFanIn),
      logits_(tensors_, "classifier.2", kHidden, spec.classes, Linear::Initial::kSmall) {}

at::Tensor ConvNet::features(const at::Tensor& inputs) {
  const FrozenGuard guard(frozen_);
  // Pooling before the ReLU gives the same values as after it, and the ReLU a quarter of the work.
  // Not in place: oneDNN's pooling keeps its output for backward, and needs the stride in so many
  // words.
  auto x = at::max_pool2d(first_.forward(blocked(inputs)), 2, 2).relu();
  x = at::max_pool2d(second_.forward(x), 2, 2).relu();
  return plain(third_.forward(x).relu_()).flatten(1);
}

at::Tensor ConvNet::head(const at::Tensor& features) {
  return logits_.forward(hidden_.forward(features).relu_());
}

}  // namespace musher

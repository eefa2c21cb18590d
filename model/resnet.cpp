#include "model/resnet.h"

#include <array>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>

#include "common/error.h"
#include "model/run_again.h"

namespace musher {
namespace {

struct Shape {
  std::array<int, 4> blocks;
  bool bottleneck;
};

Shape shape_of(int depth) {
  switch (depth) {
    case 18:
      return {{2, 2, 2, 2}, false};
    case 34:
      return {{3, 4, 6, 3}, false};
    case 50:
      return {{3, 4, 6, 3}, true};
    default:
      throw Error(ErrorCode::kInternal, fmt::format("there is no ResNet-{}", depth));
  }
}

std::int64_t output_channels(std::int64_t planes, bool bottleneck) {
  return bottleneck ? planes * 4 : planes;
}

}  // namespace

at::Tensor ResNet::Unit::forward(const at::Tensor& x, NormMode mode) const {
  return norm.forward(convolution.forward(x), mode);
}

at::Tensor ResNet::Block::forward(const at::Tensor& x, NormMode mode) const {
  auto y = x;
  for (std::size_t i = 0; i < units.size(); ++i) {
    y = units[i].forward(y, mode);
    if (i + 1 < units.size()) y = y.relu_();
  }
  y = y.add_(downsample ? downsample->forward(x, mode) : x);
  return y.relu_();
}

std::vector<at::Tensor> ResNet::Block::parameters() const {
  std::vector<at::Tensor> all;
  const auto add = [&](const Unit& unit) {
    all.insert(all.end(), {unit.convolution.weight, unit.norm.weight, unit.norm.bias});
  };
  for (const Unit& unit : units) add(unit);
  if (downsample) add(*downsample);
  return all;
}

ResNet::Unit ResNet::unit(const std::string& convolution, const std::string& norm,
                          const Convolution::Options& options) {
  Convolution layer(tensors_, convolution, options);
  return {std::move(layer), BatchNorm(tensors_, norm, options.out)};
}

ResNet::Block ResNet::block(const std::string& name, std::int64_t in, std::int64_t planes,
                            std::int64_t stride, bool bottleneck) {
  Block block;
  const auto add = [&](std::int64_t from, std::int64_t to, std::int64_t kernel, std::int64_t step) {
    const auto number = block.units.size() + 1;
    block.units.push_back(
        unit(fmt::format("{}.conv{}", name, number), fmt::format("{}.bn{}", name, number),
             {.in = from, .out = to, .kernel = kernel, .stride = step, .padding = kernel / 2}));
  };
  const auto out = output_channels(planes, bottleneck);
  if (bottleneck) {
    add(in, planes, 1, 1);
    add(planes, planes, 3, stride);
    add(planes, out, 1, 1);
  } else {
    add(in, planes, 3, stride);
    add(planes, planes, 3, 1);
  }
  if (stride != 1 || in != out) {
    block.downsample = unit(name + ".downsample.0", name + ".downsample.1",
                            {.in = in, .out = out, .kernel = 1, .stride = stride});
  }
  return block;
}

ResNet::ResNet(const ModelSpec& spec, int depth)
    : BuiltInModel(spec.seed), checkpointing_(spec.activation_checkpointing) {
  require_image(spec);
  const auto shape = shape_of(depth);
  stem_.emplace(
      unit("conv1", "bn1",
           {.in = spec.input_shape[0], .out = 64, .kernel = 7, .stride = 2, .padding = 3}));
  std::int64_t in = 64;
  for (std::size_t layer = 0; layer < shape.blocks.size(); ++layer) {
    const std::int64_t planes = std::int64_t{64} << layer;
    for (int i = 0; i < shape.blocks[layer]; ++i) {
      const std::int64_t stride = layer > 0 && i == 0 ? 2 : 1;
      blocks_.push_back(
          block(fmt::format("layer{}.{}", layer + 1, i), in, planes, stride, shape.bottleneck));
      in = output_channels(planes, shape.bottleneck);
    }
  }
  for (const std::int64_t width : spec.head_widths) {
    head_.emplace_back(tensors_, fmt::format("fc.{}", 2 * head_.size()), in, width,
                       Linear::Initial::kTorch);
    in = width;
  }
  const std::string last = head_.empty() ? "fc" : fmt::format("fc.{}", 2 * head_.size());
  head_.emplace_back(tensors_, last, in, spec.classes, Linear::Initial::kTorch);
}

void ResNet::synchronize_batch_norm(SumOverRanks sum) {
  *tensors_.sum_over_ranks() = std::move(sum);
}

at::Tensor ResNet::features(const at::Tensor& inputs) {
  const FrozenGuard guard(frozen_);
  const NormMode mode = backbone_trains() ? NormMode::kTraining : NormMode::kEvaluation;
  // oneDNN has no backward of batch-norm in evaluation mode, nor one with given statistics.
  const bool may_block =
      mode == NormMode::kTraining ? !synchronized() : !at::GradMode::is_enabled();
  const bool checkpointing =
      checkpointing_ && mode == NormMode::kTraining && at::GradMode::is_enabled();
  auto x = stem_->forward(may_block ? blocked(inputs) : inputs, mode).relu_();
  x = at::max_pool2d(x, 3, 2, 1);
  for (const auto& block : blocks_) {
    x = checkpointing ? run_again_in_backward(
                            [&block](const at::Tensor& input, bool again) {
                              return block.forward(
                                  input, again ? NormMode::kTrainingAgain : NormMode::kTraining);
                            },
                            x, block.parameters())
                      : block.forward(x, mode);
  }
  return at::adaptive_avg_pool2d(plain(x), {1, 1}).flatten(1);
}

at::Tensor ResNet::head(const at::Tensor& features) {
  at::Tensor x = features;
  for (std::size_t i = 0; i + 1 < head_.size(); ++i) x = head_[i].forward(x).relu_();
  return head_.back().forward(x);
}

}  // namespace musher

#include "model/multilayer_perceptron.h"

#include <charconv>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::int64_t kMaxWidth = 1'000'000;
constexpr std::size_t kMaxLayers = 16;

[[noreturn]] void refuse(std::string_view name) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("model must be multilayer_perceptron or multilayer_perceptron:<widths>, "
                          "1 to {} widths of "
                          "1 to {} such as multilayer_perceptron:512,512, not \"{}\"",
                          kMaxLayers, kMaxWidth, name));
}

}  // namespace

std::vector<std::int64_t> MultilayerPerceptron::hidden_widths(std::string_view name) {
  const auto colon = name.find(':');
  if (colon == std::string_view::npos) return {512, 512};
  std::vector<std::int64_t> widths;
  const char* at = name.data() + colon + 1;
  const char* const end = name.data() + name.size();
  while (true) {
    std::int64_t width = 0;
    const auto [next, error] = std::from_chars(at, end, width);
    if (error != std::errc() || width < 1 || width > kMaxWidth) refuse(name);
    widths.push_back(width);
    if (next == end) break;
    if (*next != ',') refuse(name);
    at = next + 1;
  }
  if (widths.size() > kMaxLayers) refuse(name);
  return widths;
}

MultilayerPerceptron::MultilayerPerceptron(const ModelSpec& spec,
                                           const std::vector<std::int64_t>& hidden)
    : BuiltInModel(spec.seed) {
  auto in = std::accumulate(spec.input_shape.begin(), spec.input_shape.end(), std::int64_t{1},
                            std::multiplies<>());
  for (const auto width : hidden) {
    layers_.emplace_back(tensors_, fmt::format("layers.{}", 2 * layers_.size()), in, width,
                         Linear::Initial::kFanIn);
    in = width;
  }
  layers_.emplace_back(tensors_, fmt::format("layers.{}", 2 * layers_.size()), in, spec.classes,
                       Linear::Initial::kSmall);
}

std::string MultilayerPerceptron::head_prefix() const {
  return fmt::format("layers.{}.", 2 * (layers_.size() - 1));
}

at::Tensor MultilayerPerceptron::features(const at::Tensor& inputs) {
  const FrozenGuard guard(frozen_);
  auto x = inputs.flatten(1);
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) x = layers_[i].forward(x).relu_();
  return x;
}

at::Tensor MultilayerPerceptron::head(const at::Tensor& features) {
  return layers_.back().forward(features);
}

}  // namespace musher

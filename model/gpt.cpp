#include "model/gpt.h"

#include <array>
#include <charconv>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "model/linear_function.h"

namespace musher {
namespace {

constexpr double kDeviation = 0.02;
constexpr std::int64_t kMost = 1'000'000;

[[noreturn]] void refuse(std::string_view name) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("model must be gpt:<layers>,<heads>,<width>, the width a multiple of the "
                          "heads, such as gpt:4,4,128, not \"{}\"",
                          name));
}

/// GPT-2's: what goes into the residual stream is the smaller the more of it there is.
double residual_deviation(const Gpt::Size& size) {
  return kDeviation / std::sqrt(2.0 * static_cast<double>(size.layers));
}

}  // namespace

Gpt::Size Gpt::size_of(std::string_view name) {
  constexpr std::string_view kPrefix = "gpt:";
  constexpr std::string_view kUntied = ",untied";
  std::string_view text = name;
  if (!text.starts_with(kPrefix)) refuse(name);
  text.remove_prefix(kPrefix.size());
  Size size;
  size.tied = !text.ends_with(kUntied);
  if (!size.tied) text.remove_suffix(kUntied.size());
  const char* at = text.data();
  const char* const end = at + text.size();
  std::array<std::int64_t, 3> numbers{};
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0 && (at == end || *at++ != ',')) refuse(name);
    const auto [next, problem] = std::from_chars(at, end, numbers[i]);
    if (problem != std::errc() || numbers[i] < 1 || numbers[i] > kMost) refuse(name);
    at = next;
  }
  size.layers = numbers[0];
  size.heads = numbers[1];
  size.width = numbers[2];
  if (at != end || size.width % size.heads != 0) refuse(name);
  return size;
}

Gpt::LayerNorm::LayerNorm(TensorTable& tensors, const std::string& name, std::int64_t width)
    : weight(tensors.constant(name + ".weight", {width}, 1.0)),
      bias(tensors.constant(name + ".bias", {width}, 0.0)) {}

at::Tensor Gpt::LayerNorm::forward(const at::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias);
}

Gpt::Dense::Dense(TensorTable& tensors, const std::string& name, std::int64_t in, std::int64_t out,
                  double deviation)
    : weight(tensors.normal(name + ".weight", {out, in}, deviation)),
      bias(tensors.constant(name + ".bias", {out}, 0.0)),
      places(tensors.places()) {}

/// [N, T, in] → [N, T, out].
at::Tensor Gpt::Dense::forward(const at::Tensor& x) const {
  return linear(x.reshape({-1, x.size(2)}), weight, bias, places)
      .view({x.size(0), x.size(1), weight.size(0)});
}

Gpt::Block::Block(TensorTable& tensors, const std::string& name, const Size& size)
    : ln_1(tensors, name + ".ln_1", size.width),
      c_attn(tensors, name + ".attn.c_attn", size.width, 3 * size.width, kDeviation),
      attn_c_proj(tensors, name + ".attn.c_proj", size.width, size.width, residual_deviation(size)),
      ln_2(tensors, name + ".ln_2", size.width),
      c_fc(tensors, name + ".mlp.c_fc", size.width, 4 * size.width, kDeviation),
      mlp_c_proj(tensors, name + ".mlp.c_proj", 4 * size.width, size.width,
                 residual_deviation(size)) {}

at::Tensor Gpt::Block::forward(const at::Tensor& x, std::int64_t heads) const {
  const auto parts = c_attn.forward(ln_1.forward(x)).chunk(3, 2);
  const auto by_head = [&](const at::Tensor& part) {  // [N, heads, T, width / heads]
    return part.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
  };
  const at::Tensor attended =
      at::scaled_dot_product_attention(by_head(parts[0]), by_head(parts[1]), by_head(parts[2]), {},
                                       /*dropout_p=*/0.0, /*is_causal=*/true);
  const at::Tensor middle = x + attn_c_proj.forward(attended.transpose(1, 2).reshape(x.sizes()));
  return middle + mlp_c_proj.forward(at::gelu(c_fc.forward(ln_2.forward(middle)), "tanh"));
}

Gpt::Gpt(const ModelSpec& spec, const Size& size) : BuiltInModel(spec.seed), size_(size) {
  if (spec.input_shape.size() != 1 || spec.input_shape[0] < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("model gpt takes tokens of shape [context length], not [{}]",
                            fmt::join(spec.input_shape, ", ")));
  }
  tokens_ = tensors_.normal("transformer.wte.weight", {spec.classes, size.width}, kDeviation);
  positions_ =
      tensors_.normal("transformer.wpe.weight", {spec.input_shape[0], size.width}, kDeviation);
  for (std::int64_t i = 0; i < size.layers; ++i)
    blocks_.emplace_back(tensors_, fmt::format("transformer.h.{}", i), size);
  last_norm_.emplace(tensors_, "transformer.ln_f", size.width);
  head_ = size.tied ? tokens_
                    : tensors_.normal("lm_head.weight", {spec.classes, size.width}, kDeviation);
}

at::Tensor Gpt::features(const at::Tensor& inputs) {
  const FrozenGuard guard(frozen_);
  const at::Tensor ids = inputs.to(at::kLong);
  const at::Tensor places = at::arange(ids.size(1), ids.options());
  at::Tensor x = at::embedding(tokens_, ids) + at::embedding(positions_, places);
  for (const Block& block : blocks_) x = block.forward(x, size_.heads);
  return last_norm_->forward(x);
}

/// Not by linear(): a tied weight has two gradients, which autograd must add.
at::Tensor Gpt::head(const at::Tensor& features) {
  return at::linear(features, head_);
}

void Gpt::freeze_backbone() {
  if (size_.tied) {
    throw Error(ErrorCode::kInvalidArgument,
                "freeze_backbone needs tied_embeddings false: a head that shares the token "
                "embedding has nothing of its own to train");
  }
  BuiltInModel::freeze_backbone();
}

}  // namespace musher

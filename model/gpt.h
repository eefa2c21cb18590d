#pragma once

#include <string_view>
#include <vector>

#include "model/layers.h"

namespace musher {

/// A decoder-only transformer (Radford et al., "Language models are unsupervised multitask
/// learners", 2019): learned positions, layer-norm before each part of a block, GELU in its tanh
/// form, no dropout. Token ids [N, T] of any kind of number, T at most the context length → logits
/// [N, T, vocabulary]. Names and layout of the parameters are those of nanoGPT
/// (`transformer.h.0.attn.c_attn.weight`, …, all linear layers [out, in] with biases but
/// `lm_head`).
class Gpt : public BuiltInModel {
 public:
  /// `gpt:<layers>,<heads>,<width>` as a ModelSpec names it, with `,untied` behind it where the
  /// head has weights of its own. kInvalidArgument naming `model`.
  struct Size {
    std::int64_t layers = 0;
    std::int64_t heads = 0;
    std::int64_t width = 0;  ///< a multiple of `heads`
    bool tied = true;        ///< the head's weights are those of the token embedding
  };
  static Size size_of(std::string_view name);

  /// spec.input_shape is {context length}, spec.classes the vocabulary.
  Gpt(const ModelSpec& spec, const Size& size);
  at::Tensor features(const at::Tensor& inputs) override;
  at::Tensor head(const at::Tensor& features) override;
  /// Without parameters where it is tied.
  std::string head_prefix() const override { return "lm_head."; }
  /// Only of a head that is not tied.
  void freeze_backbone() override;

 private:
  struct LayerNorm {
    LayerNorm(TensorTable& tensors, const std::string& name, std::int64_t width);
    at::Tensor forward(const at::Tensor& x) const;
    at::Tensor weight;
    at::Tensor bias;
  };
  /// Normal initial values, bias 0.
  struct Dense {
    Dense(TensorTable& tensors, const std::string& name, std::int64_t in, std::int64_t out,
          double deviation);
    at::Tensor forward(const at::Tensor& x) const;
    at::Tensor weight;
    at::Tensor bias;
    std::shared_ptr<GradientPlaces> places;
  };
  struct Block {
    Block(TensorTable& tensors, const std::string& name, const Size& size);
    at::Tensor forward(const at::Tensor& x, std::int64_t heads) const;
    LayerNorm ln_1;
    Dense c_attn;  ///< queries, keys and values one behind the other
    Dense attn_c_proj;
    LayerNorm ln_2;
    Dense c_fc;
    Dense mlp_c_proj;
  };

  Size size_;
  at::Tensor tokens_;     ///< [vocabulary, width]
  at::Tensor positions_;  ///< [context, width]
  std::vector<Block> blocks_;
  std::optional<LayerNorm> last_norm_;
  at::Tensor head_;  ///< [vocabulary, width]; tokens_ where they are tied
};

}  // namespace musher

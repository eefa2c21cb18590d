#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/layers.h"

namespace musher {

/// Flatten, then hidden layers each with a ReLU, then logits. As Python: Sequential `layers`
/// (Linear, ReLU, …, Linear).
class MultilayerPerceptron : public BuiltInModel {
 public:
  MultilayerPerceptron(const ModelSpec& spec, const std::vector<std::int64_t>& hidden);
  at::Tensor features(const at::Tensor& inputs) override;
  at::Tensor head(const at::Tensor& features) override;
  /// The last layer.
  std::string head_prefix() const override;

  /// Of "multilayer_perceptron" (512, 512) or "multilayer_perceptron:4096,4096": 1 to 16 widths of
  /// 1 to 1,000,000. kInvalidArgument naming `model`.
  static std::vector<std::int64_t> hidden_widths(std::string_view name);

 private:
  std::vector<Linear> layers_;
};

}  // namespace musher

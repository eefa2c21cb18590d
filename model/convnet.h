#pragma once

#include <string>

#include "model/layers.h"

namespace musher {

/// A small convolutional network for small images, e.g. 1×28×28: three 3×3 convolutions (16, 32, 64
/// channels), the first two each followed by 2×2 max-pooling, then a hidden layer of 128. Channels
/// are multiples of 16, as oneDNN's kernels like them. No batch-norm and no dropout: what it learns
/// does not depend on the number of ranks. As Python: Sequential `features` (Conv, MaxPool, ReLU,
/// Conv, MaxPool, ReLU, Conv, ReLU), flatten, Sequential `classifier` (Linear, ReLU, Linear).
class ConvNet : public BuiltInModel {
 public:
  explicit ConvNet(const ModelSpec& spec);
  at::Tensor features(const at::Tensor& inputs) override;
  at::Tensor head(const at::Tensor& features) override;
  std::string head_prefix() const override { return "classifier."; }

 private:
  Convolution first_;
  Convolution second_;
  Convolution third_;
  Linear hidden_;
  Linear logits_;
};

}  // namespace musher

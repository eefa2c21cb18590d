#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/layers.h"

namespace musher {

/// ResNet (He et al., "Deep residual learning for image recognition", 2015) as torchvision has it:
/// names, initial values and forward; ResNet-50 with the stride in the 3×3 convolution ("v1.5").
/// The number of input channels is free. With head_widths `fc` is a Sequential (Linear, ReLU, …,
/// Linear) instead of a Linear.
class ResNet : public BuiltInModel {
 public:
  /// `depth` is 18, 34 or 50.
  ResNet(const ModelSpec& spec, int depth);
  at::Tensor features(const at::Tensor& inputs) override;
  at::Tensor head(const at::Tensor& features) override;
  void synchronize_batch_norm(SumOverRanks sum) override;
  std::string head_prefix() const override { return "fc."; }

 private:
  struct Unit {
    Convolution convolution;
    BatchNorm norm;
    at::Tensor forward(const at::Tensor& x, NormMode mode) const;
  };
  struct Block {
    std::vector<Unit> units;  ///< two 3×3, or 1×1, 3×3, 1×1
    std::optional<Unit> downsample;
    at::Tensor forward(const at::Tensor& x, NormMode mode) const;
    std::vector<at::Tensor> parameters() const;
  };

  Unit unit(const std::string& convolution, const std::string& norm,
            const Convolution::Options& options);
  Block block(const std::string& name, std::int64_t in, std::int64_t planes, std::int64_t stride,
              bool bottleneck);

  bool checkpointing_;
  std::optional<Unit> stem_;  ///< always there once constructed
  std::vector<Block> blocks_;
  std::vector<Linear> head_;  ///< a ReLU between each two
};

}  // namespace musher

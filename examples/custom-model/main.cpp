// musher-trainer with one more model, "model": "custom:patchnet".

#include <memory>

#include <ATen/core/Tensor.h>
#include <musher/common/error.h>
#include <musher/model/layers.h>
#include <musher/trainer/program.h>

namespace {

using musher::Convolution;
using musher::Linear;

/// [N, C, H, W] → a vector of 64 for each patch of 4×4 pixels, two residual layers over it, the
/// mean over patches, logits. The members' names are those of the weights in the artifact.
class PatchNet : public musher::BuiltInModel {
 public:
  explicit PatchNet(const musher::ModelSpec& spec)
      : BuiltInModel(spec.seed),
        patches_(tensors_, "patches",
                 {.in = channels(spec), .out = 64, .kernel = 4, .stride = 4, .bias = true}),
        first_(tensors_, "first", {.in = 64, .out = 64, .kernel = 1, .bias = true}),
        second_(tensors_, "second", {.in = 64, .out = 64, .kernel = 1, .bias = true}),
        head_(tensors_, "head", 64, spec.classes, Linear::Initial::kSmall) {}

  // Apart from the head, so that freeze_backbone works for this model too.
  at::Tensor features(const at::Tensor& images) override {
    const musher::FrozenGuard guard(frozen_);
    at::Tensor x = patches_.forward(images).relu();
    for (const Convolution* layer : {&first_, &second_}) x = x.add(layer->forward(x).relu());
    return x.mean(at::IntArrayRef{2, 3});
  }
  at::Tensor head(const at::Tensor& features) override { return head_.forward(features); }
  std::string head_prefix() const override { return "head."; }

 private:
  static std::int64_t channels(const musher::ModelSpec& spec) {
    musher::require_image(spec);
    if (spec.input_shape[1] >= 4) return spec.input_shape[0];
    throw musher::Error(musher::ErrorCode::kInvalidArgument,
                        "patchnet: image_size must be at least 4");
  }

  Convolution patches_, first_, second_;
  Linear head_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto patchnet = [](const auto& spec) { return std::make_unique<PatchNet>(spec); };
  return musher::run_trainer(argc, argv, {{"patchnet", patchnet}});
}

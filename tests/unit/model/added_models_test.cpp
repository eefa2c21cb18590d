#include "model/added_models.h"

#include <memory>

#include <ATen/ops/embedding.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "model/layers.h"
#include "model/trial.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;

/// One linear layer over the flat sample, with what can be wrong about a model.
class Flat : public BuiltInModel {
 public:
  Flat(const ModelSpec& spec, std::int64_t inputs, std::int64_t outputs,
       const char* second = nullptr)
      : BuiltInModel(spec.seed),
        layer_(tensors_, "layer", inputs, outputs, Linear::Initial::kSmall) {
    if (second != nullptr) tensors_.constant(second, {1}, 0);
  }
  at::Tensor features(const at::Tensor& inputs) override { return inputs.flatten(1); }
  at::Tensor head(const at::Tensor& features) override { return layer_.forward(features); }
  std::string head_prefix() const override { return "layer."; }

 private:
  Linear layer_;
};

const ModelSpec kSpec = {.name = "custom:flat", .classes = 3, .input_shape = {1, 2, 2}, .seed = 1};

AddedModels flat(std::int64_t inputs, std::int64_t outputs, const char* second = nullptr) {
  return {{"flat", [=](const ModelSpec& spec) {
             return std::make_unique<Flat>(spec, inputs, outputs, second);
           }}};
}

TEST(AddedModels, AreFoundByName) {
  const auto model = make_model(kSpec, flat(4, 3));
  EXPECT_EQ(model->parameters().at(0).first, "layer.weight");
  EXPECT_EQ(model->forward(at::zeros({5, 1, 2, 2})).sizes(), (at::IntArrayRef{5, 3}));
}

TEST(AddedModels, LeaveMushersOwnAlone) {
  ModelSpec spec = kSpec;
  spec.name = "multilayer_perceptron:8";
  EXPECT_EQ(make_model(spec, flat(4, 3))->parameters().at(0).first, "layers.0.weight");
  spec.name = "flat";
  expect_error(ErrorCode::kInvalidArgument, {"convnet", "\"flat\""},
               [&] { make_model(spec, flat(4, 3)); });
}

TEST(AddedModels, AWrongNameIsToldTheRightOnes) {
  ModelSpec spec = kSpec;
  spec.name = "custom:flatt";
  expect_error(ErrorCode::kInvalidArgument, {"custom:flatt", "custom:flat"},
               [&] { make_model(spec, flat(4, 3)); });
  expect_error(ErrorCode::kInvalidArgument, {"custom:flat", "--trainer"},
               [&] { make_model(kSpec, {}); });
  expect_error(ErrorCode::kInvalidArgument, {"custom:flat", "the program"},
               [&] { make_model(kSpec); });
}

TEST(AddedModels, AModelThatCanNotBeTrainedIsRefused) {
  expect_error(ErrorCode::kInvalidArgument, {"custom:flat", "[N, 3]", "[1, 4]"},
               [&] { make_model(kSpec, flat(4, 4)); });
  expect_error(ErrorCode::kInvalidArgument, {"custom:flat", "a sample of [1, 2, 2]"},
               [&] { make_model(kSpec, flat(5, 3)); });
  expect_error(ErrorCode::kInvalidArgument, {"two tensors are called layer.bias"},
               [&] { make_model(kSpec, flat(4, 3, "layer.bias")); });
  expect_error(ErrorCode::kInvalidArgument, {"custom:flat", "none"}, [&] {
    make_model(kSpec, {{"flat", [](const ModelSpec&) { return std::unique_ptr<Model>(); }}});
  });
}

/// A row of logits for each token.
class PerToken : public BuiltInModel {
 public:
  explicit PerToken(const ModelSpec& spec) : BuiltInModel(spec.seed) {
    rows_ = tensors_.constant("rows.weight", {spec.classes, spec.classes}, 0);
  }
  at::Tensor features(const at::Tensor& inputs) override { return inputs; }
  at::Tensor head(const at::Tensor& tokens) override { return at::embedding(rows_, tokens); }
  std::string head_prefix() const override { return "rows."; }

 private:
  at::Tensor rows_;
};

TEST(AddedModels, AreTriedWithWhatTheTaskGives) {
  const ModelSpec spec = {.name = "custom:rows", .classes = 5, .input_shape = {4}, .seed = 1};
  const AddedModels added = {
      {"rows", [](const ModelSpec& of) { return std::make_unique<PerToken>(of); }}};
  const ModelTrial trial = {at::zeros({2, 4}, at::kLong), {2, 4, 5}};
  EXPECT_EQ(make_model(spec, added, trial)->parameters().size(), 1u);
  expect_error(ErrorCode::kInvalidArgument, {"custom:rows", "[N, 4, 6]", "[1, 4, 5]"}, [&] {
    make_model(spec, added, {trial.inputs, {2, 4, 6}});
  });
}

}  // namespace
}  // namespace musher

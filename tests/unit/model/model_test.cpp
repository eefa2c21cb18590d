#include "model/model.h"

#include <cmath>

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "model/weights.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;

ModelSpec small(const std::string& name, std::uint64_t seed = 1) {
  return {.name = name, .classes = 10, .input_shape = {1, 28, 28}, .seed = seed};
}

bool same(const NamedTensors& a, const NamedTensors& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].first != b[i].first || !a[i].second.equal(b[i].second)) return false;
  }
  return true;
}

std::vector<std::string> names(const NamedTensors& tensors) {
  std::vector<std::string> result;
  for (const auto& [name, tensor] : tensors) result.push_back(name);
  return result;
}

Safetensors state(Model& model) {
  Safetensors result;
  for (const auto& [name, tensor] : model.parameters())
    result.tensors[name] = tensor.detach().clone();
  for (const auto& [name, tensor] : model.buffers()) result.tensors[name] = tensor.clone();
  return result;
}

TEST(LoadWeights, ByNameTakesWhatThereIsAndSaysWhatNot) {
  const auto other =
      make_model({.name = "resnet18", .classes = 7, .input_shape = {1, 28, 28}, .seed = 5});
  const auto model = make_model(small("resnet18"));
  const Safetensors before = state(*model);
  Safetensors weights = state(*other);
  weights.tensors["left"] = at::zeros({1});
  expect_error(ErrorCode::kInvalidArgument, {"file", "fc.weight is Float [7,512]", "left"},
               [&] { load_weights(*model, weights, "file"); });
  const std::string report = load_weights(*model, weights, "file", WeightMatch::kByName);
  EXPECT_EQ(report,
            "file: 120 of the model's 122 tensors taken; of another shape or dtype: fc.weight is "
            "Float [7,512] and should be Float [10,512], fc.bias is Float [7] and should be Float "
            "[10]; superfluous: left");
  for (const auto& [name, tensor] : state(*model).tensors) {
    const auto& from = name.starts_with("fc.") ? before : weights;
    EXPECT_TRUE(tensor.equal(from.tensors.at(name))) << name;
  }
  Safetensors nothing;
  nothing.tensors["left"] = at::zeros({1});
  expect_error(ErrorCode::kInvalidArgument, {"file does not fit the model"},
               [&] { load_weights(*model, nothing, "file", WeightMatch::kByName); });
}

class EachModel : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Model, EachModel,
                         testing::Values("convnet", "multilayer_perceptron",
                                         "multilayer_perceptron:32", "resnet18", "resnet50"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (auto& c : name) c = c == ':' ? '_' : c;
                           return name;
                         });

TEST_P(EachModel, AFrozenBackboneStaysAsItIsAndTheHeadLearns) {
  const auto model = make_model(small(GetParam()));
  const Safetensors before = state(*model);
  model->freeze_backbone();
  model->train(true);
  model->forward(at::randn({4, 1, 28, 28})).sum().backward();
  std::size_t learning = 0;
  for (const auto& [name, parameter] : model->parameters()) {
    EXPECT_EQ(parameter.grad().defined(), parameter.requires_grad()) << name;
    learning += parameter.requires_grad() ? 1 : 0;
  }
  EXPECT_GE(learning, 2U);
  EXPECT_LT(learning, model->parameters().size());
  for (const auto& [name, buffer] : model->buffers())
    EXPECT_TRUE(buffer.equal(before.tensors.at(name))) << name;
}

TEST_P(EachModel, EveryRankStartsFromTheSameWeightsWhateverLibTorchDrewBefore) {
  const auto first = make_model(small(GetParam()));
  at::rand({17});
  const auto second = make_model(small(GetParam()));
  EXPECT_TRUE(same(first->parameters(), second->parameters()));
  EXPECT_FALSE(same(first->parameters(), make_model(small(GetParam(), 2))->parameters()));
}

TEST_P(EachModel, MakingOneLeavesTheGlobalGeneratorAlone) {
  at::manual_seed(5);
  const auto expected = at::rand({4});
  at::manual_seed(5);
  make_model(small(GetParam()));
  EXPECT_TRUE(at::rand({4}).equal(expected));
}

TEST_P(EachModel, AFreshModelGuessesAndEachParameterLearns) {
  const auto model = make_model(small(GetParam()));
  at::manual_seed(1);
  const auto logits = model->forward(at::randn({8, 1, 28, 28}));
  ASSERT_EQ(logits.sizes(), (at::IntArrayRef{8, 10}));
  const auto loss = at::cross_entropy_loss(logits, at::full({8}, 3, at::kLong));
  EXPECT_LT(loss.item<double>(), std::log(10.0) + 2.0);
  loss.backward();
  for (const auto& [name, parameter] : model->parameters()) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    EXPECT_GT(parameter.grad().abs().max().item<float>(), 0.0f) << name;
  }
}

TEST_P(EachModel, WritingToAParameterChangesTheModel) {
  const auto model = make_model(small(GetParam()));
  model->train(false);
  at::NoGradGuard no_grad;
  for (auto& [name, parameter] : model->parameters())
    at::Tensor(parameter).set_data(at::zeros_like(parameter));
  EXPECT_EQ(model->forward(at::rand({1, 1, 28, 28})).abs().max().item<float>(), 0.0f);
}

TEST_P(EachModel, WeightsTravelThroughAFile) {
  const auto source = make_model(small(GetParam()));
  source->forward(at::rand({4, 1, 28, 28}));  // moves batch-norm's buffers
  auto tensors = source->parameters();
  for (const auto& buffer : source->buffers()) tensors.push_back(buffer);
  const auto target = make_model(small(GetParam(), 2));
  load_weights(*target, from_safetensors(to_safetensors(tensors), "memory"), "memory");
  EXPECT_TRUE(same(source->parameters(), target->parameters()));
  EXPECT_TRUE(same(source->buffers(), target->buffers()));
  EXPECT_TRUE(target->parameters().front().second.requires_grad());
}

TEST(Model, ConvnetAndMultilayerPerceptronHaveNothingThatDependsOnTheBatch) {
  for (const char* name : {"convnet", "multilayer_perceptron"}) {
    const auto model = make_model(small(name));
    EXPECT_TRUE(model->buffers().empty());
    const auto inputs = at::rand({6, 1, 28, 28});
    EXPECT_TRUE(model->forward(inputs).slice(0, 2, 4).allclose(
        model->forward(inputs.slice(0, 2, 4)), 1e-5, 1e-6));
  }
}

TEST(Model, NamesArePytorchs) {
  EXPECT_EQ(names(make_model(small("multilayer_perceptron"))->parameters()),
            (std::vector<std::string>{"layers.0.weight", "layers.0.bias", "layers.2.weight",
                                      "layers.2.bias", "layers.4.weight", "layers.4.bias"}));
  const auto resnet = names(make_model(small("resnet50"))->parameters());
  EXPECT_THAT(resnet,
              testing::IsSupersetOf({"conv1.weight", "bn1.bias", "layer2.0.downsample.0.weight",
                                     "layer4.2.conv3.weight", "fc.weight"}));
}

TEST(Model, EvaluationDoesNotMoveBatchNorm) {
  const auto model = make_model(small("resnet18"));
  const auto before = state(*model);
  model->train(false);
  model->forward(at::rand({4, 1, 28, 28}));
  EXPECT_TRUE(
      state(*model).tensors.at("bn1.running_mean").equal(before.tensors.at("bn1.running_mean")));
  model->train(true);
  model->forward(at::rand({4, 1, 28, 28}));
  EXPECT_FALSE(
      state(*model).tensors.at("bn1.running_mean").equal(before.tensors.at("bn1.running_mean")));
  EXPECT_EQ(state(*model).tensors.at("bn1.num_batches_tracked").item<std::int64_t>(), 1);
}

TEST(Model, WrongNamesSayWhatIsRight) {
  expect_error(ErrorCode::kInvalidArgument, {"resnet19", "resnet18", "TorchScript"},
               [] { make_model(small("resnet19")); });
  for (const char* name :
       {"multilayer_perceptron:", "multilayer_perceptron:12,", "multilayer_perceptron:0",
        "multilayer_perceptron:12 13", "multilayer_perceptron:-4", "multilayer_perceptron:1000001",
        "multilayer_perceptron:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"}) {
    expect_error(ErrorCode::kInvalidArgument, {"model", name}, [&] { make_model(small(name)); });
  }
}

TEST(Model, ShapesThatDoNotSuit) {
  auto spec = small("convnet");
  spec.input_shape = {1, 3, 28};
  expect_error(ErrorCode::kInvalidArgument, {"convnet", "4×4", "3×28"}, [&] { make_model(spec); });
  spec.input_shape = {28, 28};
  expect_error(ErrorCode::kInvalidArgument, {"convnet", "[28, 28]"}, [&] { make_model(spec); });
  spec.classes = 0;
  expect_error(ErrorCode::kInvalidArgument, {"num_classes"}, [&] { make_model(spec); });
}

TEST(Fingerprint, TellsModelsApartButNotWeights) {
  const auto of = [](const ModelSpec& spec) { return model_fingerprint(*make_model(spec)); };
  EXPECT_EQ(of(small("convnet", 1)), of(small("convnet", 2)));
  EXPECT_NE(of(small("resnet18")), of(small("resnet34")));
  EXPECT_NE(of(small("multilayer_perceptron:8")), of(small("multilayer_perceptron:9")));
  auto more = small("convnet");
  more.classes = 11;
  EXPECT_NE(of(small("convnet")), of(more));
}

TEST(LoadWeights, WhatDoesNotFitIsListedAndNothingIsCopied) {
  const auto model = make_model(small("convnet"));
  const auto before = state(*model);
  auto weights = state(*make_model(small("convnet", 2)));
  weights.tensors.erase("features.0.bias");
  weights.tensors["classifier.2.weight"] = at::zeros({133, 128});
  weights.tensors["features.3.bias"] = at::zeros({32}, at::kLong);
  weights.tensors["fc.weight"] = at::zeros({1});
  expect_error(ErrorCode::kInvalidArgument,
               {"s3://b/w.safetensors", "missing: features.0.bias", "classifier.2.weight",
                "[133,128]", "[10,128]", "features.3.bias", "superfluous: fc.weight"},
               [&] { load_weights(*model, weights, "s3://b/w.safetensors"); });
  const auto after = state(*model);
  for (const auto& [name, tensor] : before.tensors)
    EXPECT_TRUE(after.tensors.at(name).equal(tensor)) << name;
}

TEST(LoadWeights, HalfPrecisionFilesAreTaken) {
  const auto model = make_model(small("convnet"));
  auto weights = state(*model);
  for (auto& [name, tensor] : weights.tensors) tensor = at::ones_like(tensor, at::kHalf);
  load_weights(*model, weights, "half");
  EXPECT_EQ(model->parameters().front().second.scalar_type(), at::kFloat);
  EXPECT_EQ(model->parameters().front().second.min().item<float>(), 1.0f);
}

}  // namespace
}  // namespace musher

#include "serving/predictor/artifact_predictor.h"

#include <filesystem>
#include <fstream>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "image/preprocessing.h"
#include "model/artifact.h"
#include "support/expect_error.h"
#include "trainer/input/image_samples.h"

namespace musher {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> photograph(const char* name) {
  std::ifstream in(fs::path(PHOTOGRAPHS) / name, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

class ArtifactPredictorTest : public testing::Test {
 public:
  ArtifactPredictorTest()
      : folder_(fs::path(testing::TempDir()) / ("predictor-" + std::to_string(getpid()))) {}
  ~ArtifactPredictorTest() override { fs::remove_all(folder_); }

 protected:
  std::string uri() const { return "file://" + (folder_ / "model.tar.gz").string(); }

  /// Writes a model as the trainer does at the end of a job with these hyperparameters.
  std::unique_ptr<Model> save(const Hyperparameters& hyper, const ImageTransform& transform) {
    auto model =
        make_model({.name = hyper.model,
                    .classes = 7,
                    .input_shape = {hyper.image_channels, hyper.image_size, hyper.image_size},
                    .seed = 3,
                    .head_widths = hyper.head_widths});
    const auto store = open_store(Uri::parse("file://" + folder_.string()), {});
    write_artifact(*store, "model.tar.gz", *model,
                   {.model_name = hyper.model,
                    .input_shape = {hyper.image_channels, hyper.image_size, hyper.image_size},
                    .classes = {"a", "b"},
                    .preprocessing_json = preprocessing_json(transform),
                    .metrics_json = "{}",
                    .num_classes = 7,
                    .head_widths = hyper.head_widths});
    return model;
  }

  const fs::path folder_;
};

TEST_F(ArtifactPredictorTest, GivesTheLogitsOfTheTrainersEvaluation) {
  Hyperparameters hyper;
  hyper.model = "resnet18";
  hyper.image_size = 64;
  hyper.val_resize_size = 80;
  hyper.head_widths = {16};
  for (const bool scaled : {true, false}) {
    hyper.jpeg_scaled_decode = scaled;
    hyper.normalize_mean = scaled ? std::vector<double>{} : std::vector<double>{0.1, 0.2, 0.3};
    const ImageTransform transform = evaluation_transform(hyper);
    const auto model = save(hyper, transform);
    const auto predictor = load_predictor(uri(), {}, {.instances = 2, .warm_up_batch = 3});
    ASSERT_EQ(predictor->outputs(), 7u);
    ASSERT_EQ(predictor->input_shape(), (std::vector<std::int64_t>{3, 64, 64}));

    constexpr std::size_t kFloats = 3 * 64 * 64;
    std::vector<float> inputs;
    std::vector<float> expected;
    model->train(false);
    const auto samples = make_image_decoder(transform);
    for (const char* name : {"astronaut.jpg", "chelsea.jpg", "coffee.jpg"}) {
      const auto picture = photograph(name);
      std::vector<float> sample(kFloats);
      samples->decode({}, picture, 5, sample.data());
      const at::NoGradGuard no_grad;
      const at::Tensor logits =
          model->forward(at::from_blob(sample.data(), {1, 3, 64, 64}, at::kFloat)).contiguous();
      expected.insert(expected.end(), logits.data_ptr<float>(), logits.data_ptr<float>() + 7);
      std::vector<float> served(kFloats);
      predictor->decode(picture, served.data());
      EXPECT_EQ(served, sample) << name;
      inputs.insert(inputs.end(), served.begin(), served.end());
    }
    for (const std::size_t instance : {0u, 1u}) {
      std::vector<float> outputs(3 * 7);
      predictor->predict(instance, inputs, 3, outputs);
      for (std::size_t i = 0; i < outputs.size(); ++i)
        EXPECT_NEAR(outputs[i], expected[i], 1e-4) << i;
    }
  }
}

TEST_F(ArtifactPredictorTest, APictureOfTooManyPixelsIsRefusedBeforeItIsDecoded) {
  Hyperparameters hyper;
  hyper.model = "convnet";
  hyper.image_size = 16;
  save(hyper, evaluation_transform(hyper));
  const auto predictor = load_predictor(uri(), {}, {.warm_up_batch = 1, .max_pixels = 10'000});
  std::vector<float> out(3 * 16 * 16);
  test::expect_error(ErrorCode::kDataLoss, {"10000"},
                     [&] { predictor->decode(photograph("coffee.jpg"), out.data()); });
}

TEST_F(ArtifactPredictorTest, WhatDoesNotFitTogetherIsSaid) {
  Hyperparameters hyper;
  hyper.model = "convnet";
  hyper.image_size = 16;
  ImageTransform other = evaluation_transform(hyper);
  other.size = 32;
  save(hyper, other);
  test::expect_error(ErrorCode::kInvalidArgument, {uri(), "shape"},
                     [&] { load_predictor(uri(), {}, {}); });
  test::expect_error(ErrorCode::kNotFound, {uri() + ".not"},
                     [&] { load_predictor(uri() + ".not", {}, {}); });
}

}  // namespace
}  // namespace musher

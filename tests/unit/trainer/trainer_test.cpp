#include <array>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "model/model.h"
#include "trainer/flat_parameters.h"
#include "trainer/loss_scale.h"
#include "trainer/optimizer.h"
#include "trainer/schedule.h"
#include "trainer/step_vector.h"
#include "trainer/task.h"
#include "trainer/training_step.h"

namespace musher {
namespace {

TEST(StepVector, SurvivesBeingSummedInFloat32) {
  StepVector a;
  a.digest = {17, 0xfedcba9876543210ULL};
  a.undecodable = {1, 0xffffffffffffffffULL};
  a.stop = 1;
  StepVector b;
  b.digest = {16, 0x0123456789abcdefULL};
  b.undecodable = {2, 3};
  b.checkpoint = 1;
  b.checkpoint_busy = 1;
  std::array<float, StepVector::kElements> x{};
  std::array<float, StepVector::kElements> y{};
  a.write(x);
  b.write(y);
  x[StepVector::kLoss] = 2.5F;
  y[StepVector::kMeasures] = 9;
  x[StepVector::kMeasures + StepVector::kMostMeasures - 1] = -0.5F;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];

  const StepVector sum = StepVector::read(x);
  Digest digest = a.digest;
  digest += b.digest;
  EXPECT_EQ(sum.digest, digest);
  EXPECT_EQ(sum.undecodable.samples, 3U);
  EXPECT_EQ(sum.undecodable.sum, 2U);  // wraps modulo 2^64
  EXPECT_EQ(sum.stop, 1);
  EXPECT_EQ(sum.checkpoint, 1);
  EXPECT_EQ(sum.checkpoint_busy, 1);
  EXPECT_EQ(sum.loss_sum, 2.5);
  EXPECT_EQ(sum.measures, (Measures{9, 0, 0, 0, 0, 0, 0, -0.5}));
}

TEST(StepVector, DigestOfManyRanksIsExact) {
  constexpr int kRanks = 1000;
  std::array<float, StepVector::kElements> total{};
  std::uint64_t expected = 0;
  for (int rank = 0; rank < kRanks; ++rank) {
    StepVector mine;
    mine.digest = {1, mix64(static_cast<std::uint64_t>(rank))};
    expected += mine.digest.sum;
    std::array<float, StepVector::kElements> part{};
    mine.write(part);
    for (std::size_t i = 0; i < part.size(); ++i) total[i] += part[i];
  }
  EXPECT_EQ(StepVector::read(total).digest, (Digest{kRanks, expected}));
}

TEST(LearningRate, WarmsUpThenFallsToZero) {
  Hyperparameters hyper;
  hyper.learning_rate = 0.4;
  hyper.epochs = 10;
  hyper.warmup_epochs = 1;
  hyper.lr_schedule = ScheduleKind::kCosine;
  EXPECT_NEAR(step_rates(hyper, 0, 9).learning_rate, 0.04, 1e-12);
  EXPECT_NEAR(step_rates(hyper, 8, 9).learning_rate, 0.36, 1e-12);
  EXPECT_NEAR(step_rates(hyper, 9, 9).learning_rate, 0.4, 1e-12);
  EXPECT_NEAR(step_rates(hyper, 9 + 81 / 3, 9).learning_rate, 0.4 * 0.75, 1e-9);
  EXPECT_NEAR(step_rates(hyper, 90, 9).learning_rate, 0.0, 1e-12);
  hyper.lr_schedule = ScheduleKind::kConstant;
  EXPECT_EQ(step_rates(hyper, 50, 9).learning_rate, 0.4);
}

TEST(LossScale, HalvesAtOnceAndDoublesAfterEnoughGoodSteps) {
  LossScale scale{1024, 0};
  scale = next_loss_scale(scale, true, 2);
  EXPECT_EQ(scale, (LossScale{1024, 1}));
  scale = next_loss_scale(scale, false, 2);
  EXPECT_EQ(scale, (LossScale{512, 0})) << "the good steps count anew";
  scale = next_loss_scale(next_loss_scale(scale, true, 2), true, 2);
  EXPECT_EQ(scale, (LossScale{1024, 0}));
}

TEST(LossScale, OneGradientThatIsNotFiniteIsSeenAmongMany) {
  for (const float odd : {INFINITY, -INFINITY, NAN}) {
    at::Tensor gradients = at::full({100'003}, 6.0F);
    EXPECT_TRUE(unscale(gradients, 4));
    EXPECT_TRUE(gradients.eq(1.5F).all().item<bool>());
    gradients[99'999] = odd;
    EXPECT_FALSE(unscale(gradients, 4));
  }
}

TEST(SoftTargets, AreTheSharesOfTheTwoLabels) {
  Batch batch;
  batch.targets = {2, 0, 1};
  batch.other_targets = {0, 0, 2};
  batch.target_shares = {0.75F, 0.6F, 1.0F};
  const at::Tensor soft = soft_targets_of(batch, 3, c10::Device(c10::kCPU));
  const at::Tensor expected = at::tensor({0.25F, 0.0F, 0.75F, 1.0F, 0.0F, 0.0F, 0.0F, 1.0F, 0.0F});
  EXPECT_TRUE(at::allclose(soft, expected.view({3, 3})));

  // What each label alone would cost, by its share; label smoothing too is linear.
  const at::Tensor logits =
      at::tensor({0.3F, -1.0F, 2.0F, 0.1F, 0.2F, 0.3F, -2.0F, 1.0F, 0.5F}).view({3, 3});
  const auto loss_of = [&](const at::Tensor& targets) {
    return at::cross_entropy_loss(logits, targets, {}, at::Reduction::None, -100, 0.1);
  };
  const at::Tensor shares = at::tensor({0.75F, 0.6F, 1.0F});
  const at::Tensor by_hand = loss_of(at::tensor({2, 0, 1}, at::kLong)) * shares +
                             loss_of(at::tensor({0, 0, 2}, at::kLong)) * (1 - shares);
  EXPECT_TRUE(at::allclose(loss_of(soft), by_hand));
}

std::unique_ptr<Model> small_model() {
  return make_model(
      {.name = "multilayer_perceptron", .classes = 5, .input_shape = {1, 7, 7}, .seed = 3});
}

TEST(FlatParameters, AreTheModelsOwnAndAligned) {
  const auto model = small_model();
  const auto before = model->parameters().front().second.detach().clone();
  FlatParameters flat(*model, 8);
  EXPECT_TRUE(before.equal(model->parameters().front().second));
  EXPECT_EQ(flat.gradients().numel(), flat.size() + 8);
  EXPECT_EQ(flat.gradients().numel(), FlatParameters::gradient_elements(*model, 8));
  for (const ParameterSlot& slot : flat.slots()) EXPECT_EQ(slot.offset % 16, 0) << slot.name;
  flat.values().zero_();
  for (const auto& [name, parameter] : model->parameters())
    EXPECT_EQ(parameter.abs().max().item<float>(), 0) << name;
}

/// torch.optim's documented updates, in double precision.
void expect_matches_reference(OptimizerKind kind) {
  const auto model = small_model();
  FlatParameters flat(*model, 16);
  Hyperparameters hyper;
  hyper.optimizer = kind;
  hyper.momentum = 0.9;
  hyper.weight_decay = 0.01;
  Optimizer optimizer(hyper, flat);
  at::Tensor value = flat.values().to(at::kDouble);
  at::Tensor first = at::zeros_like(value);
  at::Tensor second = at::zeros_like(value);
  const double rate = 0.05;
  const double divisor = 8;
  for (int step = 1; step <= 10; ++step) {
    const at::Tensor gradient = at::randn_like(value);
    flat.gradient_values().copy_(gradient * divisor);
    flat.tail()[0] = divisor;
    optimizer.step(rate, flat.tail()[0]);
    if (kind == OptimizerKind::kSgd) {
      first = first * 0.9 + gradient + value * 0.01;
      value = value - first * rate;
    } else {
      value = value * (1 - rate * 0.01);
      first = first * 0.9 + gradient * 0.1;
      second = second * 0.999 + gradient * gradient * 0.001;
      const auto denominator = (second / (1 - std::pow(0.999, step))).sqrt() + 1e-8;
      value = value - first / (1 - std::pow(0.9, step)) / denominator * rate;
    }
  }
  EXPECT_LT((flat.values().to(at::kDouble) - value).abs().max().item<double>(), 2e-5);
  EXPECT_EQ(optimizer.steps(), 10);
}

TEST(Optimizer, SgdMatchesReference) {
  expect_matches_reference(OptimizerKind::kSgd);
}
TEST(Optimizer, AdamWMatchesReference) {
  expect_matches_reference(OptimizerKind::kAdamW);
}

}  // namespace
}  // namespace musher

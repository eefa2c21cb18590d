#include "model/linear_function.h"

#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

struct Tensors {
  at::Tensor x, weight, bias;
};

Tensors random(std::int64_t samples, std::int64_t in, std::int64_t out) {
  at::manual_seed(1);
  return {at::randn({samples, in}).requires_grad_(true), at::randn({out, in}).requires_grad_(true),
          at::randn({out}).requires_grad_(true)};
}

Tensors copy(const Tensors& from) {
  const auto fresh = [](const at::Tensor& tensor) {
    return tensor.detach().clone().requires_grad_(true);
  };
  return {fresh(from.x), fresh(from.weight), fresh(from.bias)};
}

void expect_close(const at::Tensor& ours, const at::Tensor& theirs) {
  ASSERT_EQ(ours.sizes(), theirs.sizes());
  EXPECT_LT((ours - theirs).abs().max().item<float>() / theirs.abs().max().item<float>(), 1e-5);
}

/// Small and large: the large one is oneDNN's where there is that.
class LinearFunction : public testing::TestWithParam<std::int64_t> {
 protected:
  Tensors ours_ = random(9, GetParam(), 2 * GetParam());
  Tensors theirs_ = copy(ours_);
  std::shared_ptr<GradientPlaces> places_ = std::make_shared<GradientPlaces>();

  at::Tensor forward(const at::Tensor& x) { return linear(x, ours_.weight, ours_.bias, places_); }
  void expect_same_gradients() {
    expect_close(ours_.x.grad(), theirs_.x.grad());
    expect_close(ours_.weight.grad(), theirs_.weight.grad());
    expect_close(ours_.bias.grad(), theirs_.bias.grad());
  }
};
INSTANTIATE_TEST_SUITE_P(Model, LinearFunction, testing::Values(12, 300));

TEST_P(LinearFunction, IsLibTorchsWithItsGradients) {
  const auto y = forward(ours_.x).relu_();
  const auto expected = at::linear(theirs_.x, theirs_.weight, theirs_.bias).relu_();
  expect_close(y, expected);
  y.square().sum().backward();
  expected.square().sum().backward();
  expect_same_gradients();
}

TEST_P(LinearFunction, AGradientGoesToThePlaceOfferedAndOnlyOnce) {
  const at::Tensor place = at::full_like(ours_.weight.detach(), std::nan(""));
  places_->offer(ours_.weight, place.view(place.sizes()));
  forward(ours_.x).square().sum().backward();
  at::linear(theirs_.x, theirs_.weight, theirs_.bias).square().sum().backward();
  EXPECT_EQ(ours_.weight.grad().data_ptr(), place.data_ptr());
  expect_same_gradients();

  const at::Tensor first = place.clone();
  ours_.weight.mutable_grad().reset();
  forward(ours_.x).square().sum().backward();
  EXPECT_NE(ours_.weight.grad().data_ptr(), place.data_ptr());
  EXPECT_TRUE(place.equal(first));
}

TEST_P(LinearFunction, AWeightUsedTwiceHasTheSumOfBothGradients) {
  const at::Tensor place = at::empty_like(ours_.weight.detach());
  places_->offer(ours_.weight, place.view(place.sizes()));
  (forward(ours_.x).square().sum() + forward(ours_.x * 2).sum()).backward();
  (at::linear(theirs_.x, theirs_.weight, theirs_.bias).square().sum() +
   at::linear(theirs_.x * 2, theirs_.weight, theirs_.bias).sum())
      .backward();
  expect_same_gradients();
}

TEST_P(LinearFunction, AFrozenWeightGetsNoGradientAndTakesNoPlace) {
  ours_.weight.requires_grad_(false);
  theirs_.weight.requires_grad_(false);
  const at::Tensor place = at::zeros_like(ours_.weight);
  places_->offer(ours_.weight, place.view(place.sizes()));
  forward(ours_.x).square().sum().backward();
  at::linear(theirs_.x, theirs_.weight, theirs_.bias).square().sum().backward();
  EXPECT_FALSE(ours_.weight.grad().defined());
  EXPECT_TRUE(places_->take(ours_.weight).defined());
  expect_close(ours_.x.grad(), theirs_.x.grad());
}

}  // namespace
}  // namespace musher

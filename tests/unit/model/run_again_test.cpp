#include "model/run_again.h"

#include <optional>
#include <stdexcept>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "model/autocast.h"

namespace musher {
namespace {

struct Gradients {
  at::Tensor y;
  at::Tensor of_x;
  at::Tensor of_weight;
};

struct Calls {
  int first = 0;
  int again = 0;
};

/// relu(x · weightᵀ) + x, as it is or run again in backward.
Gradients run(std::optional<at::ScalarType> dtype, Calls* calls) {
  at::manual_seed(3);
  const at::Tensor start = at::randn({5, 4}).set_requires_grad(true);
  const at::Tensor weight = at::randn({4, 4}).set_requires_grad(true);
  const at::Tensor x = start * 2;
  const Segment segment = [&](const at::Tensor& input, bool again) {
    if (calls != nullptr) ++(again ? calls->again : calls->first);
    return at::linear(input, weight).relu_() + input;
  };
  at::Tensor y;
  {
    const Autocast autocast(at::kCPU, dtype);
    y = calls == nullptr ? segment(x, false) : run_again_in_backward(segment, x, {weight});
  }
  y.pow(2).sum().backward();
  return {y.detach(), start.grad(), weight.grad()};
}

TEST(RunAgain, GivesTheSameGradientsBitForBit) {
  for (const auto dtype : {std::optional<at::ScalarType>(), std::optional(at::kBFloat16)}) {
    Calls calls;
    const Gradients kept = run(dtype, nullptr);
    const Gradients again = run(dtype, &calls);
    EXPECT_TRUE(kept.y.equal(again.y));
    EXPECT_TRUE(kept.of_x.equal(again.of_x));
    EXPECT_TRUE(kept.of_weight.equal(again.of_weight));
    EXPECT_EQ(calls.first, 1);
    EXPECT_EQ(calls.again, 1) << "nothing was run again, so that all was kept";
  }
}

TEST(RunAgain, AnErrorInTheSecondRunComesOutOfBackward) {
  const at::Tensor x = at::ones({2}).set_requires_grad(true);
  const at::Tensor y = run_again_in_backward(
      [](const at::Tensor& input, bool again) {
        if (again) throw std::domain_error("as it was thrown");
        return input * 2;
      },
      x, {});
  EXPECT_THROW(y.sum().backward(), std::domain_error);
}

}  // namespace
}  // namespace musher

// Ranks are threads; the sum over them meets at a barrier.
#include "model/synchronized_batch_norm.h"

#include <algorithm>
#include <barrier>
#include <stdexcept>
#include <thread>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

constexpr double kMomentum = 0.1;
constexpr double kEpsilon = 1e-5;

class ThreadSum {
 public:
  explicit ThreadSum(int ranks) : barrier_(ranks), parts_(static_cast<std::size_t>(ranks)) {}

  SumOverRanks of(std::size_t rank) {
    return [this, rank](at::Tensor tensor) {
      parts_[rank] = tensor.clone();
      barrier_.arrive_and_wait();
      at::Tensor total = at::zeros_like(tensor);
      for (const at::Tensor& part : parts_) total += part;
      barrier_.arrive_and_wait();
      tensor.copy_(total);
    };
  }

 private:
  std::barrier<> barrier_;
  std::vector<at::Tensor> parts_;
};

/// What one rank, or the whole, has.
struct Norm {
  at::Tensor weight = at::linspace(0.5, 2, 3).set_requires_grad(true);
  at::Tensor bias = at::linspace(-1, 1, 3).set_requires_grad(true);
  at::Tensor running_mean = at::zeros({3});
  at::Tensor running_var = at::ones({3});
  at::Tensor x;
  at::Tensor y;

  /// `taste` makes of y what the loss is the sum of.
  void backward(const at::Tensor& taste) { (y * taste).sum().backward(); }
};

void expect_close(const at::Tensor& ours, const at::Tensor& theirs, const char* what) {
  EXPECT_LT((ours - theirs).abs().max().item<double>(),
            2e-5 * std::max(1.0, theirs.abs().max().item<double>()))
      << what;
}

void compare(const std::vector<std::int64_t>& samples, double offset) {
  at::manual_seed(5);
  std::int64_t all = 0;
  for (const std::int64_t count : samples) all += count;
  Norm whole;
  whole.x = (at::randn({all, 3, 4, 5}) + offset).set_requires_grad(true);
  const at::Tensor taste = at::randn_like(whole.x);
  whole.y = at::batch_norm(whole.x, whole.weight, whole.bias, whole.running_mean, whole.running_var,
                           true, kMomentum, kEpsilon, true);
  whole.backward(taste);

  std::vector<Norm> ranks(samples.size());
  ThreadSum sum(static_cast<int>(samples.size()));
  std::vector<std::thread> threads;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < samples.size(); begin += samples[i++]) {
    threads.emplace_back([&, i, begin] {
      Norm& mine = ranks[i];
      mine.x = whole.x.detach().narrow(0, begin, samples[i]).clone().set_requires_grad(true);
      mine.y = synchronized_batch_norm(mine.x, mine.weight, mine.bias, mine.running_mean,
                                       mine.running_var, kMomentum, kEpsilon, sum.of(i));
      mine.backward(taste.narrow(0, begin, samples[i]));
    });
  }
  for (auto& thread : threads) thread.join();

  std::vector<at::Tensor> y, of_x;
  at::Tensor of_weight = at::zeros({3});
  at::Tensor of_bias = at::zeros({3});
  for (const Norm& mine : ranks) {
    y.push_back(mine.y.detach());
    of_x.push_back(mine.x.grad());
    of_weight += mine.weight.grad();
    of_bias += mine.bias.grad();
    expect_close(mine.running_mean, whole.running_mean, "running mean");
    expect_close(mine.running_var, whole.running_var, "running variance");
  }
  expect_close(at::cat(y), whole.y.detach(), "y");
  expect_close(at::cat(of_x), whole.x.grad(), "gradient of x");
  expect_close(of_weight, whole.weight.grad(), "gradient of weight");
  expect_close(of_bias, whole.bias.grad(), "gradient of bias");
}

TEST(SynchronizedBatchNorm, IsBatchNormOverTheWholeBatch) {
  compare({6}, 0);
  compare({3, 2, 4}, 0);
  compare({3, 2, 4}, 5);
}

TEST(SynchronizedBatchNorm, ARankWithoutSamplesTakesPart) {
  compare({3, 0, 4}, 1);
}

TEST(SynchronizedBatchNorm, HalfPrecisionHasItsStatisticsInFloat32) {
  at::manual_seed(6);
  Norm half;
  half.x = (at::randn({64, 3, 8, 8}) + 20).to(at::kBFloat16);
  half.y = synchronized_batch_norm(half.x, half.weight, half.bias, half.running_mean,
                                   half.running_var, kMomentum, kEpsilon, [](at::Tensor) {});
  EXPECT_EQ(half.y.scalar_type(), at::kBFloat16);
  expect_close(half.running_mean, half.x.to(at::kFloat).mean({0, 2, 3}) * kMomentum, "mean");
}

TEST(SynchronizedBatchNorm, WhatTheSumThrowsComesOutUnchanged) {
  struct Lost {};
  struct LostInBackward : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  Norm norm;
  norm.x = at::randn({4, 3, 2, 2}).set_requires_grad(true);
  int calls = 0;
  const SumOverRanks fails_in_backward = [&](at::Tensor) {
    if (++calls == 2) throw LostInBackward("a peer is gone");
  };
  norm.y = synchronized_batch_norm(norm.x, norm.weight, norm.bias, {}, {}, kMomentum, kEpsilon,
                                   fails_in_backward);
  EXPECT_THROW(norm.y.sum().backward(), LostInBackward);
  EXPECT_THROW(synchronized_batch_norm(norm.x, norm.weight, norm.bias, {}, {}, kMomentum, kEpsilon,
                                       [](at::Tensor) { throw Lost(); }),
               Lost);
}

}  // namespace
}  // namespace musher

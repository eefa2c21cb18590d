#include "model/synchronized_batch_norm.h"

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

namespace musher {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

/// Of each channel over all ranks.
struct Statistics {
  at::Tensor mean;      ///< [C] float32
  at::Tensor variance;  ///< [C] float32, biased
  double count = 0;     ///< elements of a channel
};

/// [C] as something that goes with [N, C, …].
at::Tensor by_channel(const at::Tensor& values, const at::Tensor& x) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[1] = values.numel();
  return values.view(shape);
}

Statistics statistics_of(const at::Tensor& x, const SumOverRanks& sum) {
  const std::int64_t channels = x.size(1);
  at::Tensor totals = at::zeros({2 * channels + 1}, x.options().dtype(at::kDouble));
  if (x.numel() > 0) {
    const double count = static_cast<double>(x.numel() / channels);
    auto [mean, variance] = at::batch_norm_update_stats(x.to(at::kFloat), {}, {}, 0.0);
    mean = mean.to(at::kDouble);
    totals.narrow(0, 0, channels).copy_(mean * count);
    totals.narrow(0, channels, channels).copy_((variance.to(at::kDouble) + mean * mean) * count);
    totals[2 * channels].fill_(count);
  }
  sum(totals);
  const double count = std::max(1.0, totals[2 * channels].item<double>());
  const at::Tensor mean = totals.narrow(0, 0, channels) / count;
  const at::Tensor variance =
      (totals.narrow(0, channels, channels) / count - mean * mean).clamp_min_(0);
  return {mean.to(at::kFloat), variance.to(at::kFloat), count};
}

void move_on(at::Tensor running, const at::Tensor& present, double momentum) {
  if (running.defined()) running.mul_(1 - momentum).add_(present, momentum);
}

class SynchronizedBatchNormBackward : public torch::autograd::Node {
 public:
  SynchronizedBatchNormBackward(const at::Tensor& x, const at::Tensor& weight,
                                Statistics statistics, double epsilon, SumOverRanks sum)
      : x_(x, /*is_output=*/false),
        weight_(weight, false),
        statistics_(std::move(statistics)),
        epsilon_(epsilon),
        sum_(std::move(sum)) {}

  std::string name() const override { return "musher::SynchronizedBatchNormBackward"; }
  void release_variables() override {
    x_.reset_data();
    weight_.reset_data();
  }
  variable_list apply(variable_list&& gradients) override;

 private:
  SavedVariable x_;
  SavedVariable weight_;
  Statistics statistics_;
  double epsilon_;
  SumOverRanks sum_;
};

/// Ioffe and Szegedy, "Batch normalization" (2015), section 3, the sums going over all ranks.
variable_list SynchronizedBatchNormBackward::apply(variable_list&& gradients) {
  const at::NoGradGuard no_grad;
  const at::Tensor original = x_.unpack();
  const at::Tensor x = original.to(at::kFloat);
  const at::Tensor weight = weight_.unpack();
  at::Tensor of_x = at::empty_like(x);
  at::Tensor of_weight = at::zeros_like(weight);
  at::Tensor of_bias = at::zeros_like(weight);
  // With given statistics, that is as if they did not depend on x.
  if (x.numel() > 0 && gradients[0].defined()) {
    std::tie(of_x, of_weight, of_bias) = at::native_batch_norm_backward(
        gradients[0].to(at::kFloat), x, weight, statistics_.mean, statistics_.variance, {}, {},
        /*train=*/false, epsilon_, {true, true, true});
  }
  const at::Tensor totals = at::cat({of_bias, of_weight}).to(at::kDouble);
  sum_(totals);
  const std::int64_t channels = weight.numel();
  const at::Tensor inverse = (statistics_.variance.to(at::kDouble) + epsilon_).rsqrt();
  const at::Tensor share = weight.to(at::kDouble) * inverse / statistics_.count;
  const at::Tensor constant = share * totals.narrow(0, 0, channels);
  const at::Tensor slope = share * inverse * totals.narrow(0, channels, channels);
  of_x.sub_(by_channel(constant.to(at::kFloat), x));
  of_x.addcmul_(x - by_channel(statistics_.mean, x), by_channel(slope.to(at::kFloat), x), -1);
  return {of_x.to(original.scalar_type()), of_weight, of_bias};
}

}  // namespace

at::Tensor synchronized_batch_norm(const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& bias, at::Tensor running_mean,
                                   at::Tensor running_var, double momentum, double epsilon,
                                   const SumOverRanks& sum) {
  Statistics statistics;
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    statistics = statistics_of(x, sum);
    const double unbiased = statistics.count / std::max(1.0, statistics.count - 1);
    move_on(std::move(running_mean), statistics.mean, momentum);
    move_on(std::move(running_var), statistics.variance * unbiased, momentum);
    y = x.numel() == 0 ? at::empty_like(x)
                       : std::get<0>(at::native_batch_norm(x, weight, bias, statistics.mean,
                                                           statistics.variance,
                                                           /*training=*/false, 0.0, epsilon));
  }
  if (torch::autograd::compute_requires_grad(x, weight, bias)) {
    const std::shared_ptr<SynchronizedBatchNormBackward> node(
        new SynchronizedBatchNormBackward(x, weight, std::move(statistics), epsilon, sum),
        torch::autograd::deleteNode);
    node->set_next_edges(torch::autograd::collect_next_edges(x, weight, bias));
    torch::autograd::set_history(y, node);
  }
  return y;
}

}  // namespace musher

#include "trainer/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace musher {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;

}  // namespace

Optimizer::Optimizer(const Hyperparameters& hyperparameters, FlatParameters& parameters)
    : kind_(hyperparameters.optimizer),
      momentum_(hyperparameters.momentum),
      weight_decay_(hyperparameters.weight_decay),
      parameters_(parameters),
      step_count_(at::zeros({}, parameters.values().options())) {
  if (kind_ == OptimizerKind::kSgd) {
    if (momentum_ != 0) momentum_buffer_ = at::zeros_like(parameters.values());
  } else {
    exp_avg_ = at::zeros_like(parameters.values());
    exp_avg_sq_ = at::zeros_like(parameters.values());
  }
}

void Optimizer::step(double learning_rate, const at::Tensor& divisor) {
  const at::NoGradGuard no_grad;
  const at::Tensor values = parameters_.values();
  const at::Tensor gradients = parameters_.gradient_values();
  step_count_.add_(1);
  if (kind_ == OptimizerKind::kSgd) {
    std::vector<at::Tensor> momentum;
    if (momentum_buffer_.defined()) momentum.push_back(momentum_buffer_);
    // A zero buffer makes the first step what PyTorch's is: momentum * 0 + gradient.
    at::_fused_sgd_({values}, {gradients}, momentum, weight_decay_, momentum_, learning_rate,
                    /*dampening=*/0.0,
                    /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false, divisor);
  } else {
    at::_fused_adamw_({values}, {gradients}, {exp_avg_}, {exp_avg_sq_}, {}, {step_count_},
                      learning_rate, kBeta1, kBeta2, weight_decay_, kEpsilon, /*amsgrad=*/false,
                      /*maximize=*/false, divisor);
  }
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::state() {
  if (kind_ == OptimizerKind::kAdamW) return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}};
  if (momentum_buffer_.defined()) return {{"momentum", momentum_buffer_}};
  return {};
}

std::int64_t Optimizer::steps() const {
  return static_cast<std::int64_t>(step_count_.item<float>());
}

void Optimizer::set_steps(std::int64_t steps) {
  step_count_.fill_(static_cast<double>(steps));
}

}  // namespace musher

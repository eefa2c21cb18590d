#include "trainer/optimizer.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "trainer/rate_multipliers.h"

namespace musher {
namespace {

bool uses_momentum_buffer(OptimizerKind kind) {
  return kind == OptimizerKind::kSgd || kind == OptimizerKind::kLars;
}

std::vector<at::Tensor> views(const at::Tensor& flat, const std::vector<FlatRange>& ranges) {
  std::vector<at::Tensor> parts;
  parts.reserve(ranges.size());
  for (const FlatRange& range : ranges) parts.push_back(flat.narrow(0, range.begin, range.count));
  return parts;
}

/// numerator / denominator where both norms are above zero, else 1. float32, as the values.
at::Tensor trust_ratio(const at::Tensor& weights, const at::Tensor& updates,
                       const at::Tensor& ratio) {
  return at::where(weights.gt(0).logical_and(updates.gt(0)), ratio, at::ones_like(ratio))
      .to(at::kFloat);
}

}  // namespace

std::string to_string(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return "sgd";
    case OptimizerKind::kAdam:
      return "adam";
    case OptimizerKind::kAdamW:
      return "adamw";
    case OptimizerKind::kLamb:
      return "lamb";
    case OptimizerKind::kLars:
      return "lars";
  }
  return "";
}

Optimizer::Optimizer(const Hyperparameters& hyperparameters, FlatParameters& parameters,
                     const std::string& head_prefix)
    : hyper_(hyperparameters),
      parameters_(parameters),
      step_count_(at::zeros({}, parameters.values().options())) {
  if (hyper_.precision == Precision::kFloat16) loss_scale_.scale = hyper_.loss_scale;
  if (!uses_momentum_buffer(hyper_.optimizer)) {
    exp_avg_ = at::zeros_like(parameters.values());
    exp_avg_sq_ = at::zeros_like(parameters.values());
  } else if (hyper_.momentum != 0) {
    momentum_buffer_ = at::zeros_like(parameters.values());
  }
  std::vector<std::string> names;
  for (const ParameterSlot& slot : parameters.slots()) {
    slots_.push_back({slot.offset, slot.count});
    names.push_back(slot.name);
  }
  multipliers_ = rate_multipliers(hyper_.lr_multipliers, names, head_prefix);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const bool last = i + 1 == slots_.size();
    const std::int64_t end = last ? parameters.size() : slots_[i + 1].begin;
    auto& ranges = group_of(weight_decay_of(parameters.slots()[i]), multipliers_[i]).ranges;
    if (!ranges.empty() && ranges.back().begin + ranges.back().count == slots_[i].begin) {
      ranges.back().count = end - ranges.back().begin;
    } else {
      ranges.push_back({slots_[i].begin, end - slots_[i].begin});
    }
  }
}

Optimizer::Group& Optimizer::group_of(double weight_decay, double multiplier) {
  for (Group& group : groups_) {
    if (group.weight_decay == weight_decay && group.multiplier == multiplier) return group;
  }
  return groups_.emplace_back(Group{weight_decay, multiplier, {}});
}

/// Biases and what norms scale by have one dimension; weights that multiply have more.
bool Optimizer::adapts(const ParameterSlot& slot) const {
  return !hyper_.exclude_norms_and_biases || slot.parameter.dim() > 1;
}

double Optimizer::weight_decay_of(const ParameterSlot& slot) const {
  return adapts(slot) ? hyper_.weight_decay : 0.0;
}

void Optimizer::step(const StepRates& rates, const at::Tensor& divisor) {
  const at::NoGradGuard no_grad;
  set_steps(steps_ + 1);
  if (hyper_.optimizer == OptimizerKind::kLars) return step_lars(rates, divisor);
  if (hyper_.optimizer == OptimizerKind::kLamb) return step_lamb(rates, divisor);
  for (const Group& group : groups_) {
    hyper_.optimizer == OptimizerKind::kSgd ? step_sgd(group, rates, divisor)
                                            : step_adam(group, rates, divisor);
  }
}

void Optimizer::step_sgd(const Group& group, const StepRates& rates, const at::Tensor& divisor) {
  std::vector<at::Tensor> momentum;
  if (momentum_buffer_.defined()) momentum = views(momentum_buffer_, group.ranges);
  // A zero buffer makes the first step what PyTorch's is: momentum * 0 + gradient.
  at::_fused_sgd_(views(parameters_.values(), group.ranges),
                  views(parameters_.gradients(), group.ranges), momentum, group.weight_decay,
                  rates.momentum.value_or(hyper_.momentum), rates.learning_rate * group.multiplier,
                  /*dampening=*/0.0, hyper_.nesterov, /*maximize=*/false,
                  /*is_first_step=*/false, divisor);
}

void Optimizer::step_adam(const Group& group, const StepRates& rates, const at::Tensor& divisor) {
  const std::vector<at::Tensor> counts(group.ranges.size(), step_count_);
  const auto kernel = [&](const auto& fused) {
    fused(views(parameters_.values(), group.ranges), views(parameters_.gradients(), group.ranges),
          views(exp_avg_, group.ranges), views(exp_avg_sq_, group.ranges), at::TensorList(), counts,
          rates.learning_rate * group.multiplier, rates.momentum.value_or(hyper_.beta1),
          hyper_.beta2, group.weight_decay, hyper_.epsilon, /*amsgrad=*/false, /*maximize=*/false,
          divisor, std::nullopt);
  };
  if (hyper_.optimizer == OptimizerKind::kAdam) {
    kernel([](auto&&... arguments) { at::_fused_adam_(arguments...); });
  } else {
    kernel([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
  }
}

void Optimizer::multiply_by_slot(const at::Tensor& updates) const {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (multipliers_[i] != 1)
      updates.narrow(0, slots_[i].begin, slots_[i].count).mul_(multipliers_[i]);
  }
}

void Optimizer::step_lars(const StepRates& rates, const at::Tensor& divisor) {
  const at::Tensor values = parameters_.values();
  const at::Tensor gradients = parameters_.gradient_values();
  gradients.div_(divisor);
  const at::Tensor of_values = norms(values, slots_);
  const at::Tensor of_gradients = norms(gradients, slots_);
  const at::Tensor local_rate = trust_ratio(
      of_values, of_gradients,
      of_values * hyper_.trust_coefficient / (of_gradients + of_values * hyper_.weight_decay));
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const ParameterSlot& slot = parameters_.slots()[i];
    at::Tensor gradient = gradients.narrow(0, slot.offset, slot.count);
    if (!adapts(slot)) continue;
    gradient.add_(values.narrow(0, slot.offset, slot.count), weight_decay_of(slot));
    gradient.mul_(local_rate[static_cast<std::int64_t>(i)]);
  }
  multiply_by_slot(gradients);
  // The learning rate goes into the momentum, as in the paper: a change of it takes hold slowly.
  gradients.mul_(rates.learning_rate);
  if (!momentum_buffer_.defined()) {
    values.sub_(gradients);
    return;
  }
  momentum_buffer_.mul_(rates.momentum.value_or(hyper_.momentum)).add_(gradients);
  values.sub_(momentum_buffer_);
}

void Optimizer::step_lamb(const StepRates& rates, const at::Tensor& divisor) {
  const at::Tensor values = parameters_.values();
  const at::Tensor update = parameters_.gradient_values();
  const double beta1 = rates.momentum.value_or(hyper_.beta1);
  const double steps = static_cast<double>(steps_);
  update.div_(divisor);
  exp_avg_.mul_(beta1).add_(update, 1 - beta1);
  exp_avg_sq_.mul_(hyper_.beta2).addcmul_(update, update, 1 - hyper_.beta2);
  // The gradient is not needed any more: its memory is the update's.
  update.copy_(exp_avg_sq_).div_(1 - std::pow(hyper_.beta2, steps)).sqrt_().add_(hyper_.epsilon);
  update.reciprocal_().mul_(exp_avg_).div_(1 - std::pow(beta1, steps));
  for (const ParameterSlot& slot : parameters_.slots()) {
    update.narrow(0, slot.offset, slot.count)
        .add_(values.narrow(0, slot.offset, slot.count), weight_decay_of(slot));
  }
  const at::Tensor of_values = norms(values, slots_);
  const at::Tensor of_updates = norms(update, slots_);
  const at::Tensor ratio = trust_ratio(of_values, of_updates, of_values / of_updates);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const ParameterSlot& slot = parameters_.slots()[i];
    if (adapts(slot)) {
      update.narrow(0, slot.offset, slot.count).mul_(ratio[static_cast<std::int64_t>(i)]);
    }
  }
  multiply_by_slot(update);
  values.sub_(update, rates.learning_rate);
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::state() {
  if (exp_avg_.defined()) return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}};
  if (momentum_buffer_.defined()) return {{"momentum", momentum_buffer_}};
  return {};
}

void Optimizer::set_steps(std::int64_t steps) {
  steps_ = steps;
  step_count_.fill_(static_cast<double>(steps));
}

void Optimizer::set_progress(const OptimizerProgress& progress) {
  set_steps(progress.steps);
  if (loss_scale_.scale > 0 && progress.loss_scale.scale > 0) loss_scale_ = progress.loss_scale;
}

}  // namespace musher

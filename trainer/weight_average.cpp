#include "trainer/weight_average.h"

#include <cstddef>

#include <ATen/core/grad_mode.h>

namespace musher {
namespace {

void swap_contents(at::Tensor a, at::Tensor b) {
  const at::Tensor kept = a.clone();
  a.copy_(b);
  b.copy_(kept);
}

}  // namespace

WeightAverage::WeightAverage(FlatParameters& parameters, Model& model, double decay)
    : parameters_(parameters),
      of_model_(model.buffers()),
      decay_(decay),
      values_(parameters.values().clone()) {
  for (const auto& [name, buffer] : of_model_) buffers_.emplace_back(name, buffer.detach().clone());
}

void WeightAverage::update(bool first) {
  const at::NoGradGuard no_grad;
  const double weight = first ? 1.0 : 1.0 - decay_;
  const auto move = [&](at::Tensor average, const at::Tensor& present) {
    weight == 1.0 || !average.is_floating_point() ? average.copy_(present)
                                                  : average.lerp_(present, weight);
  };
  move(values_, parameters_.values());
  for (std::size_t i = 0; i < buffers_.size(); ++i) move(buffers_[i].second, of_model_[i].second);
}

void WeightAverage::exchange() {
  const at::NoGradGuard no_grad;
  swap_contents(values_, parameters_.values());
  for (std::size_t i = 0; i < buffers_.size(); ++i)
    swap_contents(buffers_[i].second, of_model_[i].second);
}

}  // namespace musher

#include "model/run_again.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "model/autocast.h"

namespace musher {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

class RunAgainBackward : public torch::autograd::Node {
 public:
  RunAgainBackward(Segment segment, const at::Tensor& x, std::vector<at::Tensor> parameters)
      : segment_(std::move(segment)),
        x_(x, /*is_output=*/false),
        parameters_(std::move(parameters)),
        device_(x.device().type()),
        dtype_(autocast_dtype(device_)) {}

  std::string name() const override { return "musher::RunAgainBackward"; }
  void release_variables() override { x_.reset_data(); }
  variable_list apply(variable_list&& gradients) override;

 private:
  Segment segment_;
  SavedVariable x_;
  std::vector<at::Tensor> parameters_;
  c10::DeviceType device_;
  std::optional<c10::ScalarType> dtype_;
};

variable_list RunAgainBackward::apply(variable_list&& gradients) {
  if (!gradients[0].defined()) return variable_list(1 + parameters_.size());
  at::Tensor x = x_.unpack().detach();
  x.set_requires_grad(true);
  at::Tensor y;
  {
    const at::AutoGradMode with_grad(true);
    const Autocast autocast(device_, dtype_);
    y = segment_(x, /*again=*/true);
  }
  variable_list inputs = {x};
  inputs.insert(inputs.end(), parameters_.begin(), parameters_.end());
  return torch::autograd::grad({y}, inputs, {gradients[0]}, /*retain_graph=*/std::nullopt,
                               /*create_graph=*/false, /*allow_unused=*/true);
}

}  // namespace

at::Tensor run_again_in_backward(Segment segment, const at::Tensor& x,
                                 std::vector<at::Tensor> parameters) {
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    y = segment(x, /*again=*/false);
  }
  variable_list inputs = {x};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  const std::shared_ptr<RunAgainBackward> node(
      new RunAgainBackward(std::move(segment), x, std::move(parameters)),
      torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace musher

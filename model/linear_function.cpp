#include "model/linear_function.h"

#include <optional>
#include <string_view>
#include <utility>

#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "model/autocast.h"

namespace musher {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

/// Below, what a call of oneDNN costs beside the arithmetic weighs more than its faster kernels.
constexpr std::int64_t kLargeWeight = 1 << 16;

/// LibTorch's operator that runs oneDNN's inner product on plain tensors, weights in any layout.
/// It has no autograd and no place in the public headers; a build without oneDNN lacks it.
using OneDnnLinear = at::Tensor(const at::Tensor&, const at::Tensor&,
                                const std::optional<at::Tensor>&, std::string_view,
                                c10::List<std::optional<at::Scalar>>,
                                std::optional<std::string_view>);

std::optional<c10::TypedOperatorHandle<OneDnnLinear>> find_one_dnn_linear() {
  const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!found || !found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
  return found->typed<OneDnnLinear>();
}

/// x · weightᵀ + bias, without autograd; `bias` may be undefined.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  static const auto one_dnn = find_one_dnn_linear();
  const bool suits = one_dnn && x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                     weight.numel() >= kLargeWeight && x.numel() > 0 &&
                     at::globalContext().userEnabledMkldnn();
  if (!suits) return at::linear(x, weight, bias);
  const auto optional_bias = bias.defined() ? std::optional(bias) : std::nullopt;
  return one_dnn->call(x, weight, optional_bias, "none", c10::List<std::optional<at::Scalar>>(),
                       "");
}

class LinearBackward : public torch::autograd::Node {
 public:
  LinearBackward(const at::Tensor& x, const at::Tensor& weight,
                 std::shared_ptr<GradientPlaces> places)
      : x_(x, /*is_output=*/false), weight_(weight, false), places_(std::move(places)) {}

  std::string name() const override { return "musher::LinearBackward"; }
  void release_variables() override {
    x_.reset_data();
    weight_.reset_data();
  }
  variable_list apply(variable_list&& gradients) override;

 private:
  SavedVariable x_;
  SavedVariable weight_;
  std::shared_ptr<GradientPlaces> places_;
};

variable_list LinearBackward::apply(variable_list&& gradients) {
  variable_list results(3);
  if (!gradients[0].defined()) return results;
  const at::NoGradGuard no_grad;
  const at::Tensor of_output = gradients[0].contiguous();
  const at::Tensor weight = weight_.unpack();
  if (task_should_compute_output(0)) results[0] = product(of_output, weight.t(), {});
  if (task_should_compute_output(1)) {
    const at::Tensor x = x_.unpack();
    results[1] = places_->take(weight);
    if (results[1].defined()) {
      at::mm_out(results[1], of_output.t(), x);
    } else {
      results[1] = at::mm(of_output.t(), x);
    }
  }
  if (task_should_compute_output(2)) results[2] = of_output.sum(0);
  return results;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  const std::shared_ptr<GradientPlaces>& places) {
  if (autocast_dtype(x.device().type())) return at::linear(x, weight, bias);
  at::Tensor y;
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    y = product(x, weight, bias);
  }
  if (torch::autograd::compute_requires_grad(x, weight, bias)) {
    const std::shared_ptr<LinearBackward> node(new LinearBackward(x, weight, places),
                                               torch::autograd::deleteNode);
    node->set_next_edges(torch::autograd::collect_next_edges(x, weight, bias));
    torch::autograd::set_history(y, node);
  }
  return y;
}

}  // namespace musher

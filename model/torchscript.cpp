#include "model/torchscript.h"

#include <exception>
#include <set>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

#include "common/error.h"
#include "model/script_error.h"

namespace musher {
namespace {

class TorchScriptModel : public Model {
 public:
  explicit TorchScriptModel(torch::jit::Module module) : module_(std::move(module)) {}

  at::Tensor forward(const at::Tensor& inputs) override {
    torch::jit::GraphOptimizerEnabledGuard plain(false);
    return module_.forward({inputs}).toTensor();
  }
  NamedTensors parameters() override { return once_each(module_.named_parameters()); }
  NamedTensors buffers() override { return once_each(module_.named_buffers()); }
  void train(bool on) override { module_.train(on); }
  bool is_script() const override { return true; }
  void write_script(const ByteSink& sink) const override;
  torch::jit::Module copy() const { return module_.clone(); }

 private:
  /// A tensor that two modules share has two names: the first stands.
  template <typename Named>
  static NamedTensors once_each(const Named& named) {
    NamedTensors tensors;
    std::set<const void*> seen;
    for (const auto& [name, value] : named) {
      if (seen.insert(value.unsafeGetTensorImpl()).second) tensors.emplace_back(name, value);
    }
    return tensors;
  }

  torch::jit::Module module_;
};

void TorchScriptModel::write_script(const ByteSink& sink) const {
  // The sink's exception must not cross LibTorch's zip writer: it is kept and thrown again when
  // that one has given up.
  std::exception_ptr failure;
  const auto write = [&](const void* data, std::size_t size) -> std::size_t {
    if (failure) return 0;
    try {
      sink({static_cast<const std::byte*>(data), size});
      return size;
    } catch (...) {
      failure = std::current_exception();
      return 0;
    }
  };
  try {
    torch::jit::ExportModule(module_, write);
  } catch (const std::exception& e) {
    if (!failure)
      throw Error(ErrorCode::kInternal, "the TorchScript model can't be saved: " + script_error(e));
  }
  if (failure) std::rethrow_exception(failure);
}

/// What is wrong with the model for this job; empty: nothing.
std::string complaint(Model& model, const ModelTrial& trial) {
  if (model.parameters().empty()) return "it has no parameters to train";
  at::NoGradGuard no_grad;
  model.train(false);
  const auto logits = model.forward(trial.inputs);
  model.train(true);
  if (logits.sizes() == at::IntArrayRef(trial.outputs)) return "";
  return fmt::format("for inputs of shape [{}] its forward must return [{}], but returns [{}]",
                     fmt::join(trial.inputs.sizes(), ", "), fmt::join(trial.outputs, ", "),
                     fmt::join(logits.sizes(), ", "));
}

}  // namespace

std::unique_ptr<Model> load_torchscript(const std::string& path, const ModelTrial& trial) {
  std::unique_ptr<Model> model;
  std::string wrong;
  try {
    model = std::make_unique<TorchScriptModel>(torch::jit::load(path, c10::Device(c10::kCPU)));
  } catch (const std::exception& e) {
    wrong = "it is no TorchScript file: " + script_error(e);
  }
  if (model) {
    try {
      wrong = complaint(*model, trial);
    } catch (const std::exception& e) {
      wrong = fmt::format("its forward fails for inputs of shape [{}]: {}",
                          fmt::join(trial.inputs.sizes(), ", "), script_error(e));
    }
  }
  if (!wrong.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("model {} can't be used: {}", path, wrong));
  }
  return model;
}

std::unique_ptr<Model> optimize_for_inference(Model& model,
                                              const std::vector<std::int64_t>& input_shape) {
  const auto* script = dynamic_cast<const TorchScriptModel*>(&model);
  if (script == nullptr) return nullptr;
  const at::NoGradGuard no_grad;
  std::vector<std::int64_t> shape{2};
  shape.insert(shape.end(), input_shape.begin(), input_shape.end());
  const at::Tensor batch = at::linspace(-2, 2, at::zeros(shape).numel()).reshape(shape);
  try {
    torch::jit::Module module = script->copy();
    module.eval();
    auto faster = std::make_unique<TorchScriptModel>(torch::jit::optimize_for_inference(module));
    model.train(false);
    constexpr double kRelative = 1e-3;
    constexpr double kAbsolute = 1e-4;
    if (at::allclose(faster->forward(batch), model.forward(batch), kRelative, kAbsolute))
      return faster;
  } catch (const std::exception&) {
    // Not this model.
  }
  return nullptr;
}

}  // namespace musher

#include "model/loss_module.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <string_view>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include "common/error.h"
#include "model/script_error.h"

namespace musher {
namespace {

constexpr const char* kForms =
    "its forward must return the loss, a tuple of the loss and a dict of metrics, or a dict with "
    "\"loss\"";

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  });
}

}  // namespace

struct LossModule::Module {
  torch::jit::Module script;
  c10::Device device = c10::Device(c10::kCPU);
  bool training = true;
};

struct LossModule::Returned {
  at::Tensor loss;
  std::map<std::string, at::Tensor> metrics;
};

LossModule::LossModule(std::span<const std::byte> file, std::string name, const at::Tensor& outputs,
                       const at::Tensor& targets, const std::vector<std::string>& taken,
                       std::size_t most_metrics)
    : name_(std::move(name)), module_(std::make_unique<Module>()) {
  std::istringstream stream(std::string(reinterpret_cast<const char*>(file.data()), file.size()));
  try {
    module_->script = torch::jit::load(stream, c10::Device(c10::kCPU));
  } catch (const std::exception& error) {
    refuse("it is no TorchScript file: " + script_error(error));
  }
  if (module_->script.parameters().size() > 0)
    refuse("it has parameters, which nothing would train: make them buffers");
  const at::Tensor tried = outputs.detach().clone().requires_grad_(true);
  const Returned returned = call(tried, targets, /*training=*/true);
  sum(returned.loss, "the loss", tried.size(0));
  if (!returned.loss.requires_grad())
    refuse("its loss does not follow from the outputs by operations that have a gradient");
  for (const auto& [metric, value] : returned.metrics) {
    sum(value, metric, tried.size(0));
    if (!is_name(metric)) {
      refuse(
          fmt::format("a metric's name has 1 to 64 letters, digits, dots, dashes and "
                      "underscores, which \"{}\" has not",
                      metric));
    }
    if (std::ranges::find(taken, metric) != taken.end())
      refuse(fmt::format("the metric {} is measured by Musher itself: name it otherwise", metric));
    metrics_.push_back(metric);
  }
  if (metrics_.size() > most_metrics) {
    refuse(fmt::format("it returns {} metrics, where at most {} are kept", metrics_.size(),
                       most_metrics));
  }
}

LossModule::~LossModule() = default;
LossModule::LossModule(LossModule&&) noexcept = default;

void LossModule::refuse(const std::string& why) const {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("loss_module {} can't be used: {}", name_, why));
}

LossModule::Returned LossModule::call(const at::Tensor& outputs, const at::Tensor& targets,
                                      bool training) {
  c10::IValue value;
  try {
    if (module_->device != outputs.device()) module_->script.to(outputs.device());
    module_->device = outputs.device();
    if (module_->training != training) module_->script.train(training);
    module_->training = training;
    const torch::jit::GraphOptimizerEnabledGuard plain(false);
    value = module_->script.forward({outputs, targets});
  } catch (const std::exception& error) {
    refuse(fmt::format("its forward fails for outputs of shape [{}] and targets of shape [{}]: {}",
                       fmt::join(outputs.sizes(), ", "), fmt::join(targets.sizes(), ", "),
                       script_error(error)));
  }
  Returned returned;
  c10::IValue metrics;
  if (value.isTensor()) {
    returned.loss = value.toTensor();
  } else if (value.isTuple() && value.toTupleRef().elements().size() == 2 &&
             value.toTupleRef().elements()[0].isTensor()) {
    returned.loss = value.toTupleRef().elements()[0].toTensor();
    metrics = value.toTupleRef().elements()[1];
  } else {
    metrics = value;
  }
  if (!metrics.isNone()) {
    if (!metrics.isGenericDict()) refuse(kForms);
    for (const auto& entry : metrics.toGenericDict()) {
      if (!entry.key().isString() || !entry.value().isTensor()) refuse(kForms);
      returned.metrics[entry.key().toStringRef()] = entry.value().toTensor();
    }
  }
  if (!returned.loss.defined()) {
    const auto found = returned.metrics.find("loss");
    if (found == returned.metrics.end()) refuse(kForms);
    returned.loss = found->second;
    returned.metrics.erase(found);
  }
  return returned;
}

at::Tensor LossModule::sum(const at::Tensor& value, const std::string& what,
                           std::int64_t samples) const {
  if (value.dim() == 0) return value.mul(samples);
  if (value.dim() == 1 && value.size(0) == samples) return value.sum();
  refuse(
      fmt::format("{} must be a scalar, the mean over the samples, or have one number for each "
                  "of the {}, and not the shape [{}]",
                  what, samples, fmt::join(value.sizes(), ", ")));
}

LossModule::Sums LossModule::operator()(const at::Tensor& outputs, const at::Tensor& targets,
                                        bool training) {
  const Returned returned = call(outputs, targets, training);
  Sums sums;
  sums.loss = sum(returned.loss, "the loss", outputs.size(0));
  const at::NoGradGuard no_grad;
  for (const std::string& metric : metrics_) {
    const auto found = returned.metrics.find(metric);
    if (found == returned.metrics.end() || returned.metrics.size() != metrics_.size())
      refuse(fmt::format("it must return the same metrics each time, at first {}",
                         fmt::join(metrics_, ", ")));
    sums.metrics.push_back(sum(found->second, metric, outputs.size(0)));
  }
  return sums;
}

}  // namespace musher

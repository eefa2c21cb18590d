#include "trainer/flat_parameters.h"

#include <ATen/ops/zeros.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::int64_t kAlignment =
    16;  // float32 elements: one cache line, and what oneDNN's kernels like best

std::vector<ParameterSlot> lay_out(Model& model) {
  std::vector<ParameterSlot> slots;
  const NamedTensors parameters = model.parameters();
  std::int64_t offset = 0;
  for (auto entry = parameters.rbegin(); entry != parameters.rend(); ++entry) {
    const auto& [name, parameter] = *entry;
    if (!parameter.requires_grad()) continue;
    if (parameter.scalar_type() != at::kFloat) {
      throw Error(ErrorCode::kInvalidArgument,
                  "parameter " + name + " of the model is " +
                      std::string(c10::toString(parameter.scalar_type())) +
                      "; parameters must be float32");
    }
    slots.push_back({name, parameter, offset, parameter.numel()});
    offset += (parameter.numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
  if (slots.empty())
    throw Error(ErrorCode::kInvalidArgument, "the model has no trainable parameter");
  return slots;
}

std::int64_t end_of(const std::vector<ParameterSlot>& slots) {
  return (slots.back().offset + slots.back().count + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

std::int64_t FlatParameters::gradient_elements(Model& model, std::int64_t tail) {
  return end_of(lay_out(model)) + tail;
}

FlatParameters::FlatParameters(Model& model, std::int64_t tail, at::Tensor gradients)
    : slots_(lay_out(model)), tail_(tail) {
  const auto options = slots_.front().parameter.options().requires_grad(false);
  values_ = at::zeros({end_of(slots_)}, options);
  gradients_ =
      gradients.defined() ? std::move(gradients) : at::zeros({end_of(slots_) + tail}, options);
  for (ParameterSlot& slot : slots_) {
    at::Tensor view = values_.narrow(0, slot.offset, slot.count).view(slot.parameter.sizes());
    view.copy_(slot.parameter.detach());
    slot.parameter.set_data(view);
  }
}

}  // namespace musher

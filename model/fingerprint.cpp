#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/checksum.h"
#include "model/model.h"

namespace musher {

std::uint64_t model_fingerprint(Model& model) {
  std::string text;
  const auto add = [&](const char* kind, const NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors) {
      text += fmt::format("{} {} {} [{}]\n", kind, name, c10::toString(tensor.scalar_type()),
                          fmt::join(tensor.sizes(), ","));
    }
  };
  add("parameter", model.parameters());
  add("buffer", model.buffers());
  return hash64(text);
}

std::uint64_t frozen_fingerprint(Model& model) {
  std::uint64_t hash = 0;
  for (const auto& [name, parameter] : model.parameters()) {
    if (parameter.requires_grad()) continue;
    const at::Tensor host = parameter.detach().cpu().contiguous();
    hash = hash64({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}, hash);
  }
  return hash;
}

}  // namespace musher

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "model/weights.h"

namespace musher {
namespace {

constexpr std::size_t kNamed = 5;  // of each kind in a message

std::string some_of(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const auto count = std::min(names.size(), kNamed);
  const auto more = names.size() > count ? fmt::format(" and {} more", names.size() - count) : "";
  return fmt::format("; {}: {}{}", what, fmt::join(names.begin(), names.begin() + count, ", "),
                     more);
}

bool same_kind(at::ScalarType a, at::ScalarType b) {
  return a == b || (c10::isFloatingType(a) && c10::isFloatingType(b));
}

using Tensors = std::map<std::string, at::Tensor>;

bool all_begin_with(const auto& tensors, std::string_view prefix) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

/// Without what wrappers of a module put before all of its names.
Tensors without_wrappers(Tensors tensors, const NamedTensors& targets) {
  for (const std::string_view prefix : {"module.", "_orig_mod.", "module."}) {
    if (!all_begin_with(tensors, prefix) || all_begin_with(targets, prefix)) continue;
    Tensors shorter;
    for (const auto& [name, tensor] : tensors) shorter.emplace(name.substr(prefix.size()), tensor);
    tensors = std::move(shorter);
  }
  return tensors;
}

std::string describe(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()),
                     fmt::join(tensor.sizes(), ","));
}

}  // namespace

std::string load_weights(Model& model, const Safetensors& file, const std::string& name,
                         WeightMatch match) {
  NamedTensors targets = model.parameters();
  for (auto& buffer : model.buffers()) targets.push_back(std::move(buffer));

  const Tensors weights = without_wrappers(file.tensors, targets);
  NamedTensors matching;
  std::vector<std::string> missing, different, superfluous;
  std::set<std::string> known;
  for (const auto& [key, target] : targets) {
    known.insert(key);
    const auto found = weights.find(key);
    if (found == weights.end()) {
      missing.push_back(key);
    } else if (found->second.sizes() != target.sizes() ||
               !same_kind(found->second.scalar_type(), target.scalar_type())) {
      different.push_back(
          fmt::format("{} is {} and should be {}", key, describe(found->second), describe(target)));
    } else {
      matching.emplace_back(key, target);
    }
  }
  for (const auto& [key, tensor] : weights) {
    if (!known.contains(key)) superfluous.push_back(key);
  }
  const std::string odd = some_of("missing", missing) +
                          some_of("of another shape or dtype", different) +
                          some_of("superfluous", superfluous);
  if ((match == WeightMatch::kStrict && !odd.empty()) || matching.empty()) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{} does not fit the model{}", name, odd));
  }
  const at::NoGradGuard no_grad;
  for (auto& [key, target] : matching) target.copy_(weights.at(key));
  return fmt::format("{}: {} of the model's {} tensors taken{}", name, matching.size(),
                     targets.size(), odd);
}

}  // namespace musher

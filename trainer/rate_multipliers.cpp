#include "trainer/rate_multipliers.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

bool is_part(const std::string& name) {
  return name == "head" || name == "backbone";
}

bool matches(const std::string& wanted, const std::string& parameter,
             const std::string& head_prefix) {
  if (is_part(wanted)) return parameter.starts_with(head_prefix) == (wanted == "head");
  if (!parameter.starts_with(wanted)) return false;
  return parameter.size() == wanted.size() || wanted.ends_with('.') ||
         parameter[wanted.size()] == '.';
}

/// The first words of the names, each once.
std::string modules_of(const std::vector<std::string>& parameters) {
  std::vector<std::string> modules;
  for (const std::string& parameter : parameters) {
    std::string module = parameter.substr(0, parameter.find('.'));
    if (std::find(modules.begin(), modules.end(), module) == modules.end())
      modules.push_back(std::move(module));
  }
  std::string text;
  for (const std::string& module : modules) text += (text.empty() ? "" : ", ") + module;
  return text;
}

}  // namespace

std::vector<double> rate_multipliers(const std::vector<std::pair<std::string, double>>& wanted,
                                     const std::vector<std::string>& parameters,
                                     const std::string& head_prefix) {
  std::vector<double> result(parameters.size(), 1.0);
  std::vector<std::size_t> length(parameters.size(), 0);
  for (const auto& [name, multiplier] : wanted) {
    if (is_part(name) && head_prefix.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("HyperParameters.lr_multipliers: {} needs a built-in model, of which "
                              "it is known where the head begins; name modules instead",
                              name));
    }
    bool any = false;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!matches(name, parameters[i], head_prefix)) continue;
      any = true;
      const std::size_t weight = is_part(name) ? 1 : name.size() + 1;
      if (weight <= length[i]) continue;
      length[i] = weight;
      result[i] = multiplier;
    }
    if (!any) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("HyperParameters.lr_multipliers: no parameter that is trained is in "
                              "\"{}\"; the model's begin with {}",
                              name, modules_of(parameters)));
    }
  }
  return result;
}

}  // namespace musher

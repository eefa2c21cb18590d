#include "job/hyperparameters.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "job/hyperparameter_entry.h"
#include "job/limits.h"
#include "job/nearest.h"

namespace musher {
namespace {

using Entry = HyperparameterEntry;

std::vector<Entry> make_table() {
  std::vector<Entry> table;
  for (const auto& part : {model_hyperparameters(), training_hyperparameters(),
                           optimizer_hyperparameters(), data_hyperparameters()}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  return table;
}

const std::vector<Entry>& table() {
  static const std::vector<Entry> entries = make_table();
  return entries;
}

/// SageMaker's Python SDK writes each value as JSON, so that a string comes in quotes of its own.
std::string unquoted(const std::string& text) {
  if (text.size() < 2 || !text.starts_with('"') || !text.ends_with('"')) return text;
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_string() ? json.get<std::string>() : text;
}

}  // namespace

Hyperparameters read_hyperparameters(const std::map<std::string, std::string>& values,
                                     std::vector<JobError>& errors) {
  Hyperparameters result;
  std::vector<std::string> names;
  for (const Entry& entry : table()) names.push_back(entry.name);
  for (const auto& [name, text] : values) {
    const Entry* entry = nullptr;
    for (const Entry& candidate : table()) {
      if (candidate.name == name) entry = &candidate;
    }
    const std::string path = join_path("HyperParameters", name);
    if (entry == nullptr) {
      errors.push_back({path, "is not a known hyperparameter" + suggestion(name, names)});
      continue;
    }
    const std::string problem = entry->set(result, unquoted(text));
    if (!problem.empty()) errors.push_back({path, problem});
  }
  return result;
}

std::string hyperparameter_help() {
  std::string help;
  for (const Entry& entry : table()) {
    help += fmt::format("{}\n    {} ({}), default {}\n    {}\n", entry.name, entry.type,
                        entry.range, entry.standard.empty() ? "none" : entry.standard, entry.help);
  }
  return help;
}

}  // namespace musher

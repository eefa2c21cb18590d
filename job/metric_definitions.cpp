#include "job/metric_definitions.h"

#include <algorithm>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <re2/re2.h>

#include "job/nearest.h"
#include "job/tasks.h"

namespace musher {
namespace {

/// Empty: it is good.
std::string problem(const std::string& regex) {
  const re2::RE2 compiled(regex, re2::RE2::Quiet);
  if (!compiled.ok()) {
    return fmt::format(
        "must be a regular expression of RE2, which has no lookaround and no "
        "backreferences, not {}: {}",
        in_quotes(regex), compiled.error());
  }
  if (compiled.NumberOfCapturingGroups() == 0) {
    return fmt::format(
        "must have a group in parentheses, which holds the number, e.g. "
        "\"loss: ([0-9.]+)\", not {}",
        in_quotes(regex));
  }
  return {};
}

}  // namespace

bool is_own_metric(TaskKind task, const std::string& name) {
  if (name == "train:samples_per_second") return true;
  const std::vector<std::string> own = task_metrics(task);
  return std::find(own.begin(), own.end(), name) != own.end();
}

std::vector<MetricDefinition> read_metric_definitions(TaskKind task,
                                                      const v1::AlgorithmSpecification& algorithm,
                                                      std::vector<JobError>& errors,
                                                      std::vector<JobError>& notices) {
  std::vector<MetricDefinition> result;
  std::set<std::string> names;
  for (int i = 0; i < algorithm.metric_definitions_size(); ++i) {
    const v1::MetricDefinition& definition = algorithm.metric_definitions(i);
    const std::string path = fmt::format("AlgorithmSpecification.MetricDefinitions[{}]", i);
    if (definition.name().empty() || definition.regex().empty()) continue;  // said by the limits
    if (!names.insert(definition.name()).second) {
      errors.push_back({path + ".Name", in_quotes(definition.name()) + " is there already"});
    }
    if (const std::string wrong = problem(definition.regex()); !wrong.empty()) {
      errors.push_back({path + ".Regex", wrong});
    } else if (is_own_metric(task, definition.name())) {
      notices.push_back(
          {path, definition.name() + " is measured by Musher itself; the expression is not used"});
    } else {
      result.push_back({definition.name(), definition.regex()});
    }
  }
  return result;
}

}  // namespace musher

#include "job/metric_goal.h"

#include "job/tasks.h"

namespace musher {

bool MetricGoal::greater_is_better() const {
  return given == Direction::kKnown ? musher::greater_is_better(name) : given == Direction::kMax;
}

MetricGoal parse_metric_goal(const std::string& text) {
  if (text.starts_with("min ")) return {text.substr(4), MetricGoal::Direction::kMin};
  if (text.starts_with("max ")) return {text.substr(4), MetricGoal::Direction::kMax};
  return {text, MetricGoal::Direction::kKnown};
}

}  // namespace musher

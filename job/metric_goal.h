#pragma once

#include <string>

namespace musher {

/// What early_stopping_metric asks for: a metric's name, `train:loss`, or that with the direction
/// in which it gets better before it, `max validation:f1`, which a metric of the user's own needs.
struct MetricGoal {
  enum class Direction { kKnown, kMin, kMax };
  std::string name;
  Direction given = Direction::kKnown;  ///< kKnown: by the name

  bool greater_is_better() const;
};

/// `text`: the hyperparameter; also `none`, which is then the name.
MetricGoal parse_metric_goal(const std::string& text);

}  // namespace musher

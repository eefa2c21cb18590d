#include "trainer/early_stopping.h"

#include <cmath>
#include <optional>

#include "job/metric_goal.h"

namespace musher {

EarlyStop early_stop(const Hyperparameters& hyper, std::span<const double> by_epoch) {
  EarlyStop result;
  if (hyper.early_stopping_metric == "none") return result;
  const double sign = parse_metric_goal(hyper.early_stopping_metric).greater_is_better() ? 1 : -1;
  std::optional<double> best;
  for (std::size_t epoch = 0; epoch < by_epoch.size(); ++epoch) {
    const double value = by_epoch[epoch];
    if (std::isnan(value)) continue;
    const double least = best ? std::abs(*best) * hyper.early_stopping_tolerance : 0;
    if (best && sign * (value - *best) <= least) continue;
    best = value;
    result.best_epoch = epoch;
  }
  const auto epochs = static_cast<std::int64_t>(by_epoch.size());
  const auto since = epochs - 1 - static_cast<std::int64_t>(result.best_epoch);
  result.stop =
      best && epochs >= hyper.early_stopping_min_epochs && since >= hyper.early_stopping_patience;
  return result;
}

}  // namespace musher

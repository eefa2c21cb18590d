#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace musher {

double learning_rate(const Hyperparameters& hyperparameters, std::uint64_t step,
                     std::uint64_t steps_per_epoch) {
  const double base = hyperparameters.learning_rate;
  const double warmup = hyperparameters.warmup_epochs * static_cast<double>(steps_per_epoch);
  const double position = static_cast<double>(step);
  if (position < warmup) return base * (position + 1) / (warmup + 1);
  if (hyperparameters.lr_schedule == ScheduleKind::kConstant) return base;
  const double total =
      static_cast<double>(hyperparameters.epochs) * static_cast<double>(steps_per_epoch);
  const double progress = std::clamp((position - warmup) / std::max(1.0, total - warmup), 0.0, 1.0);
  return base * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace musher

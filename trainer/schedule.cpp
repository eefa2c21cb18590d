#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace musher {
namespace {

/// From `from` at 0 to `to` at 1, along half a cosine.
double anneal(double from, double to, double progress) {
  return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * progress));
}

/// Steps down that have come before `step`.
double steps_down(const Hyperparameters& hyper, double step, double steps_per_epoch) {
  if (hyper.lr_step_size > 0)
    return std::floor(step / (static_cast<double>(hyper.lr_step_size) * steps_per_epoch));
  return static_cast<double>(std::count_if(
      hyper.lr_milestones.begin(), hyper.lr_milestones.end(),
      [&](std::int64_t epoch) { return step >= static_cast<double>(epoch) * steps_per_epoch; }));
}

StepRates one_cycle(const Hyperparameters& hyper, double step, double total) {
  const double peak = hyper.learning_rate;
  const double first = peak / hyper.div_factor;
  const double rising_until = hyper.pct_start * total - 1;
  const bool rises = step <= rising_until;
  const double begin = rises ? 0 : rising_until;
  const double end = rises ? rising_until : total - 1;
  const double progress = end > begin ? std::clamp((step - begin) / (end - begin), 0.0, 1.0) : 1.0;
  StepRates rates(rises ? anneal(first, peak, progress)
                        : anneal(peak, first / hyper.final_div_factor, progress));
  if (hyper.cycle_momentum) {
    rates.momentum = rises ? anneal(hyper.max_momentum, hyper.base_momentum, progress)
                           : anneal(hyper.base_momentum, hyper.max_momentum, progress);
  }
  return rates;
}

}  // namespace

StepRates step_rates(const Hyperparameters& hyper, std::uint64_t step,
                     std::uint64_t steps_per_epoch) {
  const double base = hyper.learning_rate;
  const double per_epoch = static_cast<double>(steps_per_epoch);
  const double total = static_cast<double>(hyper.epochs) * per_epoch;
  const double warmup = hyper.warmup_epochs * per_epoch;
  const double position = static_cast<double>(step);
  if (position < warmup) return base * (position + 1) / (warmup + 1);
  const double progress = std::clamp((position - warmup) / std::max(1.0, total - warmup), 0.0, 1.0);
  switch (hyper.lr_schedule) {
    case ScheduleKind::kConstant:
      return base;
    case ScheduleKind::kCosine:
      return anneal(base, hyper.lr_min, progress);
    case ScheduleKind::kLinear:
      return base + (hyper.lr_min - base) * progress;
    case ScheduleKind::kStep:
      return base * std::pow(hyper.lr_gamma, steps_down(hyper, position, per_epoch));
    case ScheduleKind::kOneCycle:
      return one_cycle(hyper, position, total);
  }
  return base;
}

}  // namespace musher

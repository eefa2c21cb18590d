#pragma once

#include <cstdint>
#include <optional>

#include "job/job.h"

namespace musher {

/// What of a step changes from step to step.
struct StepRates {
  StepRates(double rate) : learning_rate(rate) {}  // NOLINT(google-explicit-constructor)

  double learning_rate;
  std::optional<double> momentum;  ///< beta1 of the Adams; nullopt: the job's own
};

/// The rates of a step, counted from 0: a pure function, so that a resumed run needs no state for
/// it. Linear from near 0 over `warmup_epochs`, then one of: constant; half a cosine down to
/// `lr_min` at the last step (Loshchilov and Hutter, "SGDR", 2017); a straight line down to it;
/// down by `lr_gamma` at certain epochs; or, without a warm-up, one cycle (Smith and Topin,
/// "Super-convergence", 2018) as PyTorch's OneCycleLR has it, in two phases with cosine annealing.
StepRates step_rates(const Hyperparameters& hyperparameters, std::uint64_t step,
                     std::uint64_t steps_per_epoch);

}  // namespace musher

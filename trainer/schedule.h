#pragma once

#include <cstdint>

#include "job/job.h"

namespace musher {

/// The learning rate of a step, counted from 0: a pure function, so that a resumed run needs no
/// state for it. Linear from near 0 over `warmup_epochs`, then constant, or half a cosine down to 0
/// at the last step (Loshchilov and Hutter, "SGDR", 2017).
double learning_rate(const Hyperparameters& hyperparameters, std::uint64_t step,
                     std::uint64_t steps_per_epoch);

}  // namespace musher

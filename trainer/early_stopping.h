#pragma once

#include <span>

#include "job/job.h"

namespace musher {

/// Whether a job ends early, by what early_stopping_metric was at the end of each epoch so far (NaN
/// where it is not known). Pure, of all epochs at once: an epoch's end that is done again after a
/// failure, or is in another rank's past, can't count twice. An epoch is an improvement where it
/// betters the best before it by more than early_stopping_tolerance of that one.
struct EarlyStop {
  bool stop = false;
  std::size_t best_epoch = 0;  ///< counted from 0
};
EarlyStop early_stop(const Hyperparameters& hyperparameters, std::span<const double> by_epoch);

}  // namespace musher

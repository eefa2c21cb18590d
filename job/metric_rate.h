#pragma once

#include <cstdint>

#include "training_job.pb.h"

namespace musher {

/// The hyperparameter metrics_every_steps: steps from one point of the train curves over time to
/// the next; 0, also where it is left out: one point an epoch. REQUIRES: the request has been
/// checked. Ranks have it on their command line, for it is about what they tell, not what they
/// train.
std::int64_t metrics_every_steps(const v1::CreateTrainingJobRequest& request);

}  // namespace musher

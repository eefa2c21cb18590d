#pragma once

#include <vector>

#include "job/job.h"
#include "training_job.pb.h"

namespace musher {

/// What must hold between the values of a job that are right each by itself, and what follows from
/// them where the request leaves it out: the model, the number of virtual workers, normalisation.
/// Adds to `errors`; the job counts only where there are none. `has_validation`: there is a channel
/// of that name.
void check_relations(const v1::CreateTrainingJobRequest& request, bool has_validation, Job& job,
                     std::vector<JobError>& errors);

}  // namespace musher

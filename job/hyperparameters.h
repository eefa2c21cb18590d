#pragma once

#include <map>
#include <string>
#include <vector>

#include "job/job.h"

namespace musher {

/// Reads SageMaker's string map by the table in hyperparameters_<topic>.cpp; a name that is not
/// given keeps its default. What must hold between several of them is validate.cpp's. Errors have
/// the paths `HyperParameters.<name>`.
Hyperparameters read_hyperparameters(const std::map<std::string, std::string>& values,
                                     std::vector<JobError>& errors);

}  // namespace musher

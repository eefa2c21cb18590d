#pragma once

#include <string>
#include <vector>

#include "training_job.pb.h"

namespace musher {

/// The channels with the InputMode File, their own or AlgorithmSpecification's: all of their data
/// is brought to a host before it trains. The others have FastFile, as those that say nothing.
std::vector<std::string> file_mode_channels(const v1::CreateTrainingJobRequest& request);

}  // namespace musher

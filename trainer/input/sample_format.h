#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "job/job.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// What a job's task makes of its data before LibTorch sees any of it.
struct SampleFormat {
  std::unique_ptr<SampleDecoder> train;
  std::unique_ptr<SampleDecoder> evaluation;  ///< without augmentation
  std::int64_t labels = 0;                    ///< those of the manifest are in [0, labels)
  std::vector<std::int64_t> model_input;      ///< shape of what the model is given for a sample
  std::vector<std::int64_t> model_output;     ///< shape of what it gives for one, classes last
  std::vector<std::string> output_names;      ///< of those that have one
  std::string preprocessing_json;             ///< of the artifact
};

/// `names`: of the job's classes, or of its tables' columns (Manifest::classes). kInvalidArgument
/// for columns that are not there.
SampleFormat sample_format(TaskKind task, const Hyperparameters& hyperparameters,
                           const std::vector<std::string>& names);

}  // namespace musher

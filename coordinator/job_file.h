#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "job/job.h"
#include "training_job.pb.h"

namespace musher {

/// A job as a person wrote it, made into what the coordinator takes.
struct JobFile {
  v1::CreateTrainingJobRequest request;
  Job job;
  std::vector<JobError> notices;  ///< what the job asks for that changes nothing
};

/// Reads a job's file. Two things that SageMaker does not have are done here, on the client's side:
/// a URI `file://./PATH` is taken relative to the file's folder, and a missing TrainingJobName
/// becomes `<model>-YYYYMMDD-HHMMSS` (UTC). Throws kNotFound, or kInvalidArgument with everything
/// that is wrong, a line each, with the file's name.
JobFile read_job_file(const std::filesystem::path& file, std::optional<int> workers);

/// The job's text with a name, if it had none; as it is where it is not JSON.
std::string with_name(const std::string& text, std::chrono::system_clock::time_point now);

}  // namespace musher

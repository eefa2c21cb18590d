#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "job/job.h"
#include "training_job.pb.h"

namespace musher {

/// What is wrong with one value by SageMaker's own limits, which limits.cpp lists; empty where
/// nothing is.
std::string limit_problem(const google::protobuf::FieldDescriptor& field, std::string_view value);
std::string limit_problem(const google::protobuf::FieldDescriptor& field, std::int64_t value);

/// Every field of `request` against those limits: lengths, patterns, ranges, counts, and what is
/// required. A number or string that has its proto3 default counts as absent.
void check_limits(const v1::CreateTrainingJobRequest& request, std::vector<JobError>& errors);

/// `path.name`, or `name` at the top; a name that no person would read is made readable.
std::string join_path(const std::string& path, std::string_view name);

}  // namespace musher

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

/// The names that a value of `type` may have, for people: "File, FastFile".
std::string enum_choices(const google::protobuf::EnumDescriptor& type);

/// Every field of `request` against those limits: lengths, patterns, ranges, counts, and what is
/// required; and that it holds nothing which this version does not know, neither fields nor
/// values of an enum, as a request of a newer client may. A number or string that has its proto3
/// default counts as absent.
void check_limits(const v1::CreateTrainingJobRequest& request, std::vector<JobError>& errors);

/// `path.name`, or `name` at the top; a name that no person would read is made readable.
std::string join_path(const std::string& path, std::string_view name);

}  // namespace musher

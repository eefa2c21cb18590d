#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "job/job.h"
#include "training_job.pb.h"

/// The side of job/ that faces protobuf: for the coordinator and the client's command line, which
/// link `musher::job_request`. The trainer's own files include job/job.h alone.
namespace musher {

/// A request as far as it could be read, and what could not. `order` names every field of the text,
/// in its order; `notices` are the fields of SageMaker that change nothing here.
struct RequestOrErrors {
  v1::CreateTrainingJobRequest request;
  std::vector<JobError> errors;
  std::vector<std::string> order;
  std::vector<JobError> notices;
};

/// JSON text → message: syntax, names, types, enum values. No limits beyond those and no relations:
/// that is validate_request(). `folder` as in parse_job().
RequestOrErrors request_from_json(const std::string& json, const std::string& folder = "");

/// Everything else: SageMaker's limits, hyperparameters, and what must hold between them. `workers`
/// overrides the number of ranks, as in parse_job(). For a request that came over the wire this
/// alone is enough.
JobOrErrors validate_request(const v1::CreateTrainingJobRequest& request,
                             std::optional<int> workers = std::nullopt);

/// A message as SageMaker's JSON: its names, in the order of the .proto file, unset fields left
/// out, numbers as numbers (64 bits too), enums by name, timestamps as RFC 3339 in UTC.
nlohmann::ordered_json to_json(const google::protobuf::Message& message);

}  // namespace musher

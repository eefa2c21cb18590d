#pragma once

#include <vector>

#include "job/job.h"
#include "training_job.pb.h"

namespace musher {

/// Names that Musher measures itself in a job of that task.
bool is_own_metric(TaskKind task, const std::string& name);

/// AlgorithmSpecification.MetricDefinitions: every regular expression must be one of RE2's and have
/// a group. One whose name Musher measures itself gets a notice and is left out.
std::vector<MetricDefinition> read_metric_definitions(TaskKind task,
                                                      const v1::AlgorithmSpecification& algorithm,
                                                      std::vector<JobError>& errors,
                                                      std::vector<JobError>& notices);

}  // namespace musher

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/added_models.h"
#include "model/model.h"
#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/flat_parameters.h"
#include "trainer/input/sample_format.h"
#include "trainer/task.h"

/// From a job's hyperparameters to the things that they name.
namespace musher {

/// What the job learns.
std::unique_ptr<Task> build_task(const Membership& membership, const SampleFormat& format);

/// The job's model, one of Musher's or of `added`, with its initial weights, and in `report` what
/// was taken of them; empty where there are none. A user's is tried with a batch of `task`. Reads
/// the object store where they lie there.
std::unique_ptr<Model> build_model(const Membership& membership, const SampleFormat& format,
                                   const Task& task, const AddedModels& added, std::string& report);

CheckpointIdentity checkpoint_identity(const Membership& membership, std::uint64_t fingerprint,
                                       const FlatParameters& parameters, Model& model);

/// Writes `<output>/<job>/output/model.tar.gz`: whole, or nothing.
void save_artifact(const Membership& membership, const SampleFormat& format, Model& model,
                   std::uint64_t step, bool stopped, const std::vector<MetricPoint>& metrics);

}  // namespace musher

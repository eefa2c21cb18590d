#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/model.h"
#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/flat_parameters.h"

/// From a job's hyperparameters to the things that they name.
namespace musher {

/// The job's model with its initial weights. Reads the object store where they lie there.
std::unique_ptr<Model> build_model(const Membership& membership);

CheckpointIdentity checkpoint_identity(const Membership& membership, std::uint64_t fingerprint,
                                       const FlatParameters& parameters);

/// Writes `<output>/<job>/output/model.tar.gz`: whole, or nothing.
void save_artifact(const Membership& membership, Model& model, std::uint64_t step, bool stopped,
                   const std::vector<MetricPoint>& metrics);

}  // namespace musher

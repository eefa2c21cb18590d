#pragma once

#include <atomic>
#include <memory>

#include "storage/config.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/collective.h"
#include "trainer/options.h"

namespace musher {

/// One rank's whole run: from membership to the artifact. `world` joins the ranks over MPI; on GPUs
/// gradients go over NCCL beside it. Reports its end to the coordinator unless it throws: then the
/// caller reports the failure. Returns how it ended.
Outcome run_rank(const TrainerOptions& options, std::unique_ptr<Collective>& world,
                 CoordinatorClient& client, const std::atomic<bool>& stop_signal);

}  // namespace musher

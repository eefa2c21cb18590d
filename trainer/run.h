#pragma once

#include <functional>
#include <memory>

#include "model/added_models.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/collective.h"
#include "trainer/collective/mpi.h"
#include "trainer/metadata.h"
#include "trainer/options.h"
#include "trainer/stop_request.h"

namespace musher {

/// What a rank is within its attempt.
struct RankRole {
  const MpiRuntime& mpi;
  int member = 0;
  int local_rank = 0;     ///< among the ranks of its host: the GPU to use
  bool newcomer = false;  ///< started beside training
};

struct RankEnd {
  Outcome outcome = Outcome::kCompleted;
  /// Ranks were lost or came meanwhile: MPI_Finalize, which is collective over all that there ever
  /// were, was then seen to hang.
  bool members_changed = false;
};

/// One rank's whole run: from membership to the artifact. `enter` gives the collective over MPI,
/// once all that needs no other rank is built; null: this newcomer is not wanted after all. On GPUs
/// gradients go over NCCL beside it. Reports its end to the coordinator unless it throws: then the
/// caller reports the failure. Returns how it ended. One rank of each host of a spot job watches
/// for EC2's notices, which raise `stop` as a signal does. `models`: beside Musher's own.
RankEnd run_rank(const TrainerOptions& options, const AddedModels& models, const RankRole& role,
                 const std::function<std::unique_ptr<Collective>()>& enter,
                 CoordinatorClient& client, StopRequest& stop, const MetadataConfig& metadata);

}  // namespace musher

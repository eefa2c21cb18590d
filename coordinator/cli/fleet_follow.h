#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "coordinator/cli/command.h"

namespace musher::cli {

/// What can be done with the one fleet. All throw Error.
struct FleetActions {
  std::function<int()> instances;           ///< how many are there or coming
  std::function<void(int instances)> rent;  ///< makes what is missing, in place of lost ones too
  std::function<void()> withdraw;           ///< its hosts are no hosts of new attempts any more
  std::function<void()> give_back;
  std::function<bool()> time_is_up;
};

/// Rents as many instances as the coordinator's unfinished jobs need that name `type` (with or
/// without `ml.` before it) in ResourceConfig.InstanceType, `most` of them; gives all of them back
/// when no job is left, however the last one ended. Never fewer in between: a host that a job runs
/// on is not taken away. What it goes by is the coordinator's jobs and AWS's tags, so that it, and
/// the coordinator, may be killed and started again. Looks at both each `pause`. Returns at SIGTERM
/// or SIGINT, and leaves the fleet; throws kFailedPrecondition when the fleet's time was up and it
/// has been given back.
int follow_jobs(const CoordinatorAddress& address, const std::string& type, int most,
                std::chrono::milliseconds pause, const FleetActions& fleet);

}  // namespace musher::cli

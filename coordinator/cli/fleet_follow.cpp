#include "coordinator/cli/fleet_follow.h"

#include <algorithm>
#include <iostream>
#include <set>

#include <fmt/format.h>

#include "coordinator/cli/connection.h"
#include "coordinator/cli/daemon_options.h"
#include "fleet/plan.h"

namespace musher::cli {

namespace {

/// For the coordinator to read a changed hostfile, and start what it still had in hand.
constexpr auto kWithdrawn = std::chrono::seconds(6);

/// What the unfinished jobs need.
struct Demand {
  int instances = 0;  ///< of those that name the type
  bool any = false;   ///< there is a job, of whatever type
};

class Follower {
 public:
  Follower(const CoordinatorAddress& address, const std::string& type, int most,
           const FleetActions& fleet)
      : connection_(address), type_(ec2_type(type)), most_(most), fleet_(fleet) {}

  /// One look at the jobs, and what follows from it.
  void step() {
    const Demand demand = look();
    const int there = fleet_.instances();
    if (!demand.any) {
      if (there > 0) give_back_if_still_idle();
      return;
    }
    const int wanted = std::max(there, std::min(most_, demand.instances));
    if (wanted > 0) fleet_.rent(wanted);
  }

 private:
  Demand look() {
    Demand demand;
    for (const auto status : {v1::TrainingJobStatus::InProgress, v1::TrainingJobStatus::Stopping}) {
      v1::ListTrainingJobsRequest request;
      request.set_status_equals(status);
      request.set_max_results(100);
      do {
        const auto page = connection_.call(&v1::Jobs::Stub::ListTrainingJobs, request);
        for (const auto& job : page.training_job_summaries()) add(job.training_job_name(), demand);
        request.set_next_token(page.next_token());
      } while (!request.next_token().empty());
    }
    return demand;
  }

  void add(const std::string& name, Demand& demand) {
    demand.any = true;
    v1::DescribeTrainingJobRequest request;
    request.set_training_job_name(name);
    const auto job = connection_.call(&v1::Jobs::Stub::DescribeTrainingJob, request);
    const auto& resources = job.resource_config();
    if (ec2_type(resources.instance_type()) != type_) return;
    const int count = std::max<int>(1, static_cast<int>(resources.instance_count()));
    if (count <= most_) {
      demand.instances += count;
    } else if (told_.insert(name).second) {
      std::cerr << fmt::format(
          "musher: job {} wants {} instances, and --instances is {}: it waits\n", name, count,
          most_);
    }
  }

  /// A job may come between the look and the end of the hosts.
  void give_back_if_still_idle() {
    fleet_.withdraw();
    wait_for_stop_signal(Deadline::after(kWithdrawn));
    if (!look().any) fleet_.give_back();
  }

  Connection connection_;
  const std::string type_;
  const int most_;
  const FleetActions& fleet_;
  std::set<std::string> told_;  ///< jobs of which something was said
};

}  // namespace

int follow_jobs(const CoordinatorAddress& address, const std::string& type, int most,
                std::chrono::milliseconds pause, const FleetActions& fleet) {
  block_stop_signals();
  Follower follower(address, type, most, fleet);
  std::string trouble;
  do {
    try {
      follower.step();
      trouble.clear();
    } catch (const Error& error) {
      if (fleet.time_is_up()) {
        fleet.withdraw();
        fleet.give_back();
        throw Error(ErrorCode::kFailedPrecondition,
                    "the fleet's time is up: all of it was given back, and jobs wait");
      }
      if (trouble != error.what()) std::cerr << "musher: " << error.what() << "; tries again\n";
      trouble = error.what();
    }
  } while (wait_for_stop_signal(Deadline::after(pause)) == 0);
  return kOk;
}

}  // namespace musher::cli

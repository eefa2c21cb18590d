#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <queue>
#include <string>
#include <vector>

#include "common/random.h"
#include "coordinator/scheduler.h"

/// A cluster in simulated time, for tests and benchmarks of the scheduler.
namespace musher::simulation {

using std::chrono::milliseconds;

struct Arrival {
  milliseconds at{0};
  int ranks = 1;
  milliseconds runs{0};   ///< what it really takes
  milliseconds limit{0};  ///< what it may take; at least `runs`
  std::string submitter = {};
  int priority = 0;
};

struct Outcome {
  milliseconds started{-1};  ///< -1: never
  milliseconds ended{-1};
};

/// Runs all arrivals, which are by time, to their end. `decide` is asked whenever a job arrives or
/// ends; `look` sees every decision that was made.
template <typename Decision, typename Look>
std::vector<Outcome> simulate(const std::vector<Arrival>& arrivals,
                              const std::vector<HostSlots>& hosts, Decision decide, Look look) {
  struct Active {
    std::size_t job;
    std::vector<HostSlots> placement;
  };
  std::vector<Outcome> outcomes(arrivals.size());
  std::vector<std::size_t> waiting;
  std::vector<Active> active;
  std::size_t next = 0;
  while (next < arrivals.size() || !active.empty()) {
    milliseconds now = milliseconds::max();
    if (next < arrivals.size()) now = arrivals[next].at;
    for (const Active& one : active) now = std::min(now, outcomes[one.job].ended);
    for (; next < arrivals.size() && arrivals[next].at == now; ++next) waiting.push_back(next);
    std::erase_if(active, [&](const Active& one) { return outcomes[one.job].ended == now; });

    std::vector<QueuedJob> queue;
    for (const std::size_t i : waiting) {
      const Arrival& job = arrivals[i];
      queue.push_back({std::to_string(i), job.ranks, job.submitter, job.priority, now - job.at,
                       false, job.limit});
    }
    std::vector<RunningJob> running;
    for (const Active& one : active) {
      const Arrival& job = arrivals[one.job];
      running.push_back({std::to_string(one.job), one.placement, job.submitter,
                         outcomes[one.job].started + job.limit - now});
    }
    const Schedule decision = decide(queue, running, hosts);
    look(now, queue, running, decision);
    for (const Start& start : decision.starts) {
      const auto i = static_cast<std::size_t>(std::stoull(start.name));
      outcomes[i] = {now, now + arrivals[i].runs};
      active.push_back({i, start.placement});
      std::erase(waiting, i);
    }
  }
  return outcomes;
}

/// First come, first served, without overtaking: what the scheduler is measured against.
inline Schedule first_come_first_served(const std::vector<QueuedJob>& queue,
                                        const std::vector<RunningJob>& running,
                                        const std::vector<HostSlots>& hosts) {
  std::vector<QueuedJob> plain;
  for (const QueuedJob& job : queue) plain.push_back({job.name, job.ranks});
  std::vector<RunningJob> held;
  for (const RunningJob& job : running) held.push_back({job.name, job.placement});
  return schedule(plain, held, hosts);
}

}  // namespace musher::simulation

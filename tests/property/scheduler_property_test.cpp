// What the scheduler promises, on random clusters and queues.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "coordinator/scheduler.h"
#include "support/simulated_cluster.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using simulation::Arrival;
using std::chrono::milliseconds;

std::vector<HostSlots> random_hosts(Random& random) {
  std::vector<HostSlots> hosts;
  for (std::uint64_t i = 0; i < 1 + random.below(4); ++i) {
    hosts.push_back({"h" + std::to_string(i), 1 + static_cast<int>(random.below(6))});
  }
  return hosts;
}

std::vector<Arrival> random_arrivals(Random& random, int most_ranks) {
  std::vector<Arrival> arrivals;
  milliseconds now{0};
  for (std::uint64_t i = 0; i < 40 + random.below(60); ++i) {
    now += milliseconds(random.below(4000));
    Arrival job;
    job.at = now;
    job.ranks = 1 + static_cast<int>(random.below(static_cast<std::uint64_t>(most_ranks)));
    job.runs = milliseconds(1 + random.below(20'000));
    job.limit = job.runs + milliseconds(random.below(2) * random.below(40'000));
    job.submitter = std::string(1, static_cast<char>('a' + random.below(4)));
    job.priority = static_cast<int>(random.below(3)) - 1;
    arrivals.push_back(job);
  }
  return arrivals;
}

std::string head_of(const Schedule& decision) {
  const std::set<std::string> never(decision.too_large.begin(), decision.too_large.end());
  for (const std::string& name : decision.waiting) {
    if (!never.contains(name)) return name;
  }
  return "";
}

void check_slots(const std::vector<RunningJob>& running, const Schedule& decision,
                 const std::vector<HostSlots>& hosts) {
  std::map<std::string, int> used;
  for (const RunningJob& job : running) {
    for (const HostSlots& held : job.placement) used[held.host] += held.slots;
  }
  for (const Start& start : decision.starts) {
    for (const HostSlots& held : start.placement) used[held.host] += held.slots;
  }
  for (const HostSlots& host : hosts) ASSERT_LE(used[host.host], host.slots);
}

/// The head is promised a time, which holds, and never moves away while it is the head and nobody
/// who goes before it (of a higher priority, say) comes.
class Promises {
 public:
  void look(milliseconds now, const Schedule& decision) {
    for (const Start& start : decision.starts) {
      if (start.name == head_) {
        ASSERT_LE(now, promise_) << "job " << head_;
      }
    }
    for (const Start& start : decision.starts) {
      if (!start.backfilled) head_.clear();  // it went before
    }
    const std::string head = head_of(decision);
    if (head.empty()) {
      head_.clear();
      return;
    }
    ASSERT_TRUE(decision.head_starts_in) << "all jobs have limits";
    const milliseconds promise = now + *decision.head_starts_in;
    if (head == head_) {
      ASSERT_LE(promise, promise_) << "job " << head_;
    }
    head_ = head;
    promise_ = promise;
  }

 private:
  std::string head_;
  milliseconds promise_{0};
};

/// With what was started now, all to their limits, the head starts no later than without those
/// that overtook it.
void check_no_delay(const std::vector<QueuedJob>& queue, std::vector<RunningJob> running,
                    const std::vector<HostSlots>& hosts, const Schedule& decision) {
  const std::string head = head_of(decision);
  if (head.empty()) return;
  std::map<std::string, QueuedJob> by_name;
  for (const QueuedJob& job : queue) by_name[job.name] = job;
  std::vector<RunningJob> without = running;
  for (const Start& start : decision.starts) {
    const RunningJob job{start.name, start.placement, "", by_name[start.name].limit};
    running.push_back(job);
    if (!start.backfilled) without.push_back(job);
  }
  const Schedule with_all = schedule({by_name[head]}, running, hosts);
  const Schedule with_none = schedule({by_name[head]}, without, hosts);
  ASSERT_EQ(with_all.waiting.size(), 1u);
  ASSERT_EQ(with_none.waiting.size(), 1u);
  ASSERT_LE(*with_all.head_starts_in, *with_none.head_starts_in);
}

TEST(SchedulerProperty, TheHeadOfTheQueueIsNeverDelayedAndNoSlotIsGivenTwice) {
  int backfilled = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random{seed, 1};
    const std::vector<HostSlots> hosts = random_hosts(random);
    const auto arrivals = random_arrivals(random, total_slots(hosts) + 1);
    Promises promises;
    const auto outcomes = simulation::simulate(
        arrivals, hosts,
        [](const auto& queue, const auto& running, const auto& on) {
          return schedule(queue, running, on, {30s});
        },
        [&](milliseconds now, const auto& queue, const auto& running, const Schedule& decision) {
          ASSERT_NO_FATAL_FAILURE(check_slots(running, decision, hosts));
          ASSERT_NO_FATAL_FAILURE(promises.look(now, decision));
          ASSERT_NO_FATAL_FAILURE(check_no_delay(queue, running, hosts, decision));
          for (const Start& start : decision.starts) backfilled += start.backfilled ? 1 : 0;
        });
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
      EXPECT_EQ(outcomes[i].started.count() >= 0, arrivals[i].ranks <= total_slots(hosts)) << i;
    }
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(backfilled, 1000) << "otherwise this proves little";
}

TEST(SchedulerProperty, NobodyIsStarvedByHigherPrioritiesOrNewSubmitters) {
  const std::vector<HostSlots> hosts = {{"h", 8}};
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Random random{seed, 2};
    // More than the cluster can do, of a high priority, each job from a submitter of its own.
    std::vector<Arrival> arrivals = {{0ms, 4, 10s, 10s, "busy"}, {1ms, 8, 10s, 10s, "busy", -100}};
    for (int i = 0; i < 1000; ++i) {
      arrivals.push_back({milliseconds(2 + 100 * i), 1, milliseconds(500 + random.below(1500)), 2s,
                          "s" + std::to_string(i), 100});
    }
    const auto outcomes = simulation::simulate(
        arrivals, hosts,
        [](const auto& queue, const auto& running, const auto& on) {
          return schedule(queue, running, on, {60s});
        },
        [](const auto&...) {});
    ASSERT_GE(outcomes[1].started, 0ms) << "seed " << seed;
    // Its patience, then what was running; those that were overdue before it were not there.
    EXPECT_LE(outcomes[1].started, 60s + 10s + 2s) << "seed " << seed;
  }
}

}  // namespace
}  // namespace musher

// A simulated day of 10,000 jobs: how much of the cluster is used, how long who waits, and what the
// scheduler itself costs, beside plain first come, first served. No processes: simulated time.
//
//   scheduler_day [SEED]
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>

#include "support/simulated_cluster.h"

namespace musher {
namespace {

using namespace std::chrono_literals;
using simulation::Arrival;
using simulation::Outcome;
using std::chrono::milliseconds;

constexpr int kJobs = 10'000;
constexpr int kSubmitters = 20;

double gaussian(Random& random) {  // Box-Muller
  return std::sqrt(-2 * std::log(1 - random.uniform())) *
         std::cos(6.283185307179586 * random.uniform());
}

milliseconds seconds(double value) {
  return milliseconds(static_cast<std::int64_t>(value * 1000));
}

/// Sizes and durations as traces of shared GPU clusters have them (Jeon et al., "Analysis of
/// Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads", ATC 2019): most jobs small
/// and short, most time in a few large ones; more by day; a few submitters send most; limits are
/// guesses.
std::vector<Arrival> day(std::uint64_t seed, double median_seconds) {
  Random random{seed};
  constexpr std::array<int, 20> kSizes = {1, 1, 1, 1, 1, 1, 1, 1,  1,  2,
                                          2, 2, 4, 4, 4, 8, 8, 16, 32, 64};
  std::vector<Arrival> jobs;
  while (jobs.size() < kJobs) {
    const double hour = random.uniform(0, 24);
    // Twice as many at three in the afternoon as at three in the morning.
    if (random.uniform() > 0.75 + 0.25 * std::cos((hour - 15) / 24 * 6.283185307179586)) continue;
    Arrival job;
    job.at = seconds(hour * 3600);
    job.ranks = kSizes[random.below(kSizes.size())];
    job.runs = std::clamp(seconds(std::exp(std::log(median_seconds) + 1.1 * gaussian(random))),
                          10'000ms, milliseconds(4h));
    // A third keep the default, a day; the others guess up to five times what it takes.
    job.limit = random.below(3) == 0
                    ? milliseconds(24h)
                    : milliseconds(static_cast<std::int64_t>(static_cast<double>(job.runs.count()) *
                                                             random.uniform(1, 5)));
    const double u = random.uniform();
    job.submitter = "s" + std::to_string(static_cast<int>(u * u * u * kSubmitters));
    job.priority = random.below(20) == 0 ? 10 : 0;
    jobs.push_back(job);
  }
  std::stable_sort(jobs.begin(), jobs.end(),
                   [](const Arrival& a, const Arrival& b) { return a.at < b.at; });
  return jobs;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0
                        : std::accumulate(values.begin(), values.end(), 0.0) /
                              static_cast<double>(values.size());
}

/// Of the slots until the last job arrived: share of their time that jobs held them.
double utilisation(const std::vector<Arrival>& jobs, const std::vector<Outcome>& outcomes,
                   int slots) {
  const milliseconds end = jobs.back().at;
  double used = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const milliseconds held = std::min(outcomes[i].ended, end) - std::min(outcomes[i].started, end);
    used += jobs[i].ranks * static_cast<double>(held.count());
  }
  return used / (slots * static_cast<double>(end.count()));
}

struct Cost {
  double total = 0;  // seconds
  double worst = 0;
  int decisions = 0;
  std::size_t longest_queue = 0;
};

template <typename Decision>
void row(const char* name, const std::vector<Arrival>& jobs, const std::vector<HostSlots>& hosts,
         Decision decide) {
  Cost cost;
  const auto timed = [&](const auto& queue, const auto& running, const auto& on) {
    const auto start = std::chrono::steady_clock::now();
    Schedule result = decide(queue, running, on);
    const double took =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    cost.total += took;
    cost.worst = std::max(cost.worst, took);
    cost.decisions += 1;
    cost.longest_queue = std::max(cost.longest_queue, queue.size());
    return result;
  };
  const auto outcomes = simulation::simulate(jobs, hosts, timed, [](const auto&...) {});
  std::vector<double> all;
  std::vector<double> large;
  std::vector<double> urgent;
  std::map<std::string, std::vector<double>> by_submitter;
  milliseconds last{0};
  int never = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (outcomes[i].started < 0ms) ++never;
    const double waited = static_cast<double>((outcomes[i].started - jobs[i].at).count()) / 60'000;
    all.push_back(waited);
    if (jobs[i].ranks >= 32) large.push_back(waited);
    if (jobs[i].priority > 0) urgent.push_back(waited);
    by_submitter[jobs[i].submitter].push_back(waited);
    last = std::max(last, outcomes[i].ended);
  }
  std::vector<double> means;
  for (const auto& [submitter, waits] : by_submitter) means.push_back(mean(waits));
  std::printf(
      "| %s | %.1f %% | %.1f h | %.1f | %.1f | %.1f | %.0f | %.0f | %.1f | %.1f | %d | %.0f µs, "
      "%.1f ms | %zu |\n",
      name, 100 * utilisation(jobs, outcomes, total_slots(hosts)),
      static_cast<double>(last.count()) / 3.6e6, mean(all), quantile(all, 0.5), quantile(all, 0.95),
      quantile(all, 1), quantile(large, 1), mean(urgent), quantile(means, 0.5), never,
      1e6 * cost.total / cost.decisions, 1e3 * cost.worst, cost.longest_queue);
}

}  // namespace
}  // namespace musher

int main(int argc, char** argv) {
  using namespace musher;
  const std::uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  std::vector<HostSlots> hosts;
  for (int i = 0; i < 32; ++i) hosts.push_back({"h" + std::to_string(i), 8});
  for (const double median_seconds : {140.0, 180.0}) {
    const auto jobs = day(seed, median_seconds);
    double work = 0;
    for (const auto& job : jobs) work += job.ranks * static_cast<double>(job.runs.count());
    std::printf(
        "%d jobs of %d submitters in 24 h, for %.0f %% of the time of %d slots, seed %llu. Minutes "
        "waited:\n\n",
        kJobs, kSubmitters, 100 * work / (total_slots(hosts) * 86.4e6), total_slots(hosts),
        static_cast<unsigned long long>(seed));
    std::printf(
        "| | used | all done after | mean | median | 95 %% | most | most, 32 ranks or more | mean, "
        "high priority | median of the submitters' means | never started | a decision: mean, worst "
        "| "
        "longest queue |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    row("first come, first served", jobs, hosts, simulation::first_come_first_served);
    row("Musher", jobs, hosts, [](const auto& queue, const auto& running, const auto& on) {
      return schedule(queue, running, on);
    });
    std::printf("\n");
  }
  return 0;
}

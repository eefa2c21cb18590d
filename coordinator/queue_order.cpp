// Who goes first.
#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "coordinator/scheduler.h"

namespace musher {

std::vector<std::size_t> queue_order(const std::vector<QueuedJob>& queue,
                                     const std::vector<RunningJob>& running, const Policy& policy) {
  std::vector<std::size_t> order(queue.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto overdue = [&](std::size_t i) { return queue[i].waited >= policy.patience; };
  // Whose turn it is within one priority comes last: it depends on who is before.
  const auto first = [&](std::size_t i) {
    return overdue(i) ? std::tuple(0, 0, 0)
                      : std::tuple(1, -queue[i].priority, queue[i].began ? 0 : 1);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return first(a) < first(b); });

  std::map<std::string, std::int64_t> ahead;  // slots of each submitter, held and before
  for (const RunningJob& job : running) ahead[job.submitter] += total_slots(job.placement);
  std::vector<std::int64_t> turn(queue.size());
  for (const std::size_t i : order) {
    turn[i] = ahead[queue[i].submitter];
    ahead[queue[i].submitter] += queue[i].ranks;
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto key = [&](std::size_t i) {
      return overdue(i) ? std::tuple(0, 0, std::int64_t{0}, i)
                        : std::tuple(1, -queue[i].priority, turn[i], i);
    };
    return key(a) < key(b);
  });
  return order;
}

}  // namespace musher

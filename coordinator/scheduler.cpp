#include "coordinator/scheduler.h"

#include <algorithm>
#include <optional>

namespace musher {
namespace {

std::vector<int> free_by_host(const std::vector<RunningJob>& running,
                              const std::vector<HostSlots>& hosts) {
  std::vector<int> free;
  free.reserve(hosts.size());
  for (const HostSlots& host : hosts) free.push_back(host.slots);
  for (const RunningJob& job : running) {
    for (const HostSlots& held : job.placement) {
      const auto host = std::find_if(hosts.begin(), hosts.end(),
                                     [&](const HostSlots& h) { return h.host == held.host; });
      // A job may hold slots on a host that has since left the host file; those are nobody's to
      // give.
      if (host != hosts.end()) free[host - hosts.begin()] -= held.slots;
    }
  }
  return free;
}

/// The fullest host that has room for all ranks.
std::optional<std::size_t> one_host(int ranks, const std::vector<int>& free) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < free.size(); ++i) {
    if (free[i] >= ranks && (!best || free[i] < free[*best])) best = i;
  }
  return best;
}

/// Slots per host, taken from the emptiest hosts first; empty where there are too few.
std::vector<int> few_hosts(int ranks, const std::vector<int>& free) {
  std::vector<std::size_t> order(free.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return free[a] > free[b]; });
  std::vector<int> taken(free.size(), 0);
  for (std::size_t i : order) {
    taken[i] = std::clamp(free[i], 0, ranks);
    ranks -= taken[i];
  }
  return ranks == 0 ? taken : std::vector<int>{};
}

std::vector<int> place(int ranks, const std::vector<int>& free) {
  if (const auto host = one_host(ranks, free)) {
    std::vector<int> taken(free.size(), 0);
    taken[*host] = ranks;
    return taken;
  }
  return few_hosts(ranks, free);
}

}  // namespace

int free_slots(const std::vector<RunningJob>& running, const std::vector<HostSlots>& hosts) {
  int total = 0;
  for (const int free : free_by_host(running, hosts)) total += std::max(0, free);
  return total;
}

std::optional<std::vector<HostSlots>> grown(std::vector<HostSlots> placement, int more,
                                            const std::vector<RunningJob>& running,
                                            const std::vector<HostSlots>& hosts) {
  std::vector<int> free = free_by_host(running, hosts);
  const auto take = [&](std::size_t i, HostSlots& held) {
    const int taken = std::min(std::max(0, free[i]), std::max(0, more));
    held.slots += taken;
    free[i] -= taken;
    more -= taken;
  };
  for (HostSlots& held : placement) {
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      if (hosts[i].host == held.host) take(i, held);
    }
  }
  for (std::size_t i = 0; i < hosts.size() && more > 0; ++i) {
    HostSlots added{hosts[i].host, 0};
    take(i, added);
    if (added.slots > 0) placement.push_back(added);
  }
  if (more > 0) return std::nullopt;
  return placement;
}

std::vector<HostSlots> shrunk(std::vector<HostSlots> placement, int ranks) {
  int spare = total_slots(placement) - ranks;
  while (spare > 0 && !placement.empty()) {
    HostSlots& last = placement.back();
    const int given = std::min(spare, last.slots);
    last.slots -= given;
    spare -= given;
    if (last.slots == 0) placement.pop_back();
  }
  return placement;
}

int total_slots(const std::vector<HostSlots>& hosts) {
  int total = 0;
  for (const HostSlots& host : hosts) total += host.slots;
  return total;
}

Schedule schedule(const std::vector<QueuedJob>& queue, const std::vector<RunningJob>& running,
                  const std::vector<HostSlots>& hosts) {
  Schedule result;
  std::vector<int> free = free_by_host(running, hosts);
  const int total = total_slots(hosts);
  bool blocked = false;
  for (const QueuedJob& job : queue) {
    if (job.ranks > total) {
      result.waiting.push_back(job.name);
      result.too_large.push_back(job.name);
      continue;
    }
    const std::vector<int> taken = blocked ? std::vector<int>{} : place(job.ranks, free);
    if (taken.empty()) {
      blocked = true;
      result.waiting.push_back(job.name);
      continue;
    }
    Start start{job.name, {}};
    for (std::size_t i = 0; i < taken.size(); ++i) {
      free[i] -= taken[i];
      if (taken[i] > 0) start.placement.push_back({hosts[i].host, taken[i]});
    }
    result.starts.push_back(std::move(start));
  }
  return result;
}

}  // namespace musher

#include "coordinator/scheduler.h"

#include <algorithm>
#include <optional>

namespace musher {
namespace {

/// Adds a job's slots, times `sign`, to those of their hosts. A job may hold slots on a host that
/// has since left the host file; those are nobody's to give.
void add_slots(const std::vector<HostSlots>& placement, const std::vector<HostSlots>& hosts,
               int sign, std::vector<int>& free) {
  for (const HostSlots& held : placement) {
    const auto host = std::find_if(hosts.begin(), hosts.end(),
                                   [&](const HostSlots& h) { return h.host == held.host; });
    if (host != hosts.end()) free[host - hosts.begin()] += sign * held.slots;
  }
}

std::vector<int> free_by_host(const std::vector<RunningJob>& running,
                              const std::vector<HostSlots>& hosts) {
  std::vector<int> free;
  free.reserve(hosts.size());
  for (const HostSlots& host : hosts) free.push_back(host.slots);
  for (const RunningJob& job : running) add_slots(job.placement, hosts, -1, free);
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

/// What the head of the queue is promised.
struct Reservation {
  std::optional<std::chrono::milliseconds> from;  ///< absent: it can't be told
  int spare = 0;                                  ///< slots that are free then beside its own

  /// Whether the head is not delayed by this job, started now.
  bool admits(const QueuedJob& job) const {
    if (!from) return false;
    return gone_by_then(job) || job.ranks <= spare;
  }
  void take(const QueuedJob& job) {
    if (!gone_by_then(job)) spare -= job.ranks;
  }

 private:
  bool gone_by_then(const QueuedJob& job) const { return job.limit && *job.limit <= *from; }
};

/// Slots as they are given out.
class Round {
 public:
  Round(const std::vector<RunningJob>& running, const std::vector<HostSlots>& hosts)
      : hosts_(hosts), running_(running), free_(free_by_host(running, hosts)) {}

  std::optional<Start> start(const QueuedJob& job) {
    const std::vector<int> taken = place(job.ranks, free_);
    if (taken.empty()) return std::nullopt;
    Start start{job.name, {}};
    for (std::size_t i = 0; i < taken.size(); ++i) {
      free_[i] -= taken[i];
      if (taken[i] > 0) start.placement.push_back({hosts_[i].host, taken[i]});
    }
    running_.push_back({job.name, start.placement, job.submitter, job.limit});
    return start;
  }

  /// From when on there are `ranks` slots, as those that run come to their end.
  Reservation reserve(int ranks) const {
    std::vector<const RunningJob*> left;
    for (const RunningJob& job : running_) {
      if (job.ends_in) left.push_back(&job);
    }
    std::sort(left.begin(), left.end(),
              [](const RunningJob* a, const RunningJob* b) { return *a->ends_in > *b->ends_in; });
    std::vector<int> free = free_;
    while (!left.empty()) {
      const auto now = *left.back()->ends_in;
      for (; !left.empty() && *left.back()->ends_in <= now; left.pop_back()) {
        add_slots(left.back()->placement, hosts_, 1, free);
      }
      int total = 0;
      for (const int slots : free) total += std::max(0, slots);
      if (total >= ranks) return {now, total - ranks};
    }
    return {};
  }

 private:
  const std::vector<HostSlots>& hosts_;
  std::vector<RunningJob> running_;
  std::vector<int> free_;
};

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

namespace {

int free_of(const HostSlots& host, const std::map<std::string, int>& held) {
  const auto found = held.find(host.host);
  return host.slots - (found == held.end() ? 0 : found->second);
}

}  // namespace

std::vector<HostSlots> shrunk(std::vector<HostSlots> placement, int ranks,
                              const std::map<std::string, int>& held) {
  int spare = std::max(0, total_slots(placement) - ranks);
  for (auto host = placement.rbegin(); host != placement.rend(); ++host) {
    const int given = std::clamp(free_of(*host, held), 0, spare);
    host->slots -= given;
    spare -= given;
  }
  std::erase_if(placement, [](const HostSlots& host) { return host.slots == 0; });
  return shrunk(std::move(placement), ranks);
}

int total_slots(const std::vector<HostSlots>& hosts) {
  int total = 0;
  for (const HostSlots& host : hosts) total += host.slots;
  return total;
}

Schedule schedule(const std::vector<QueuedJob>& queue, const std::vector<RunningJob>& running,
                  const std::vector<HostSlots>& hosts, const Policy& policy) {
  Round round(running, hosts);
  Schedule result;
  const int total = total_slots(hosts);
  std::vector<QueuedJob> fitting;
  for (const QueuedJob& job : queue) {
    if (job.ranks <= total) {
      fitting.push_back(job);
    } else {
      result.too_large.push_back(job.name);
    }
  }
  std::optional<Reservation> head;
  for (const std::size_t i : queue_order(fitting, running, policy)) {
    const QueuedJob& job = fitting[i];
    if (head && !head->admits(job)) {
      result.waiting.push_back(job.name);
    } else if (auto start = round.start(job)) {
      if (head) head->take(job);
      start->backfilled = head.has_value();
      result.starts.push_back(*std::move(start));
    } else {
      if (!head) {
        head = round.reserve(job.ranks);
        result.head_starts_in = head->from;
      }
      result.waiting.push_back(job.name);
    }
  }
  result.waiting.insert(result.waiting.end(), result.too_large.begin(), result.too_large.end());
  return result;
}

}  // namespace musher

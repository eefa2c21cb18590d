#pragma once

#include <atomic>
#include <cstdint>

namespace musher {

/// What happened since the coordinator started, for its metrics. Thread-safe.
struct CoordinatorCounts {
  std::atomic<std::uint64_t> submissions = 0;  ///< jobs that were taken
  std::atomic<std::uint64_t> attempts = 0;     ///< that were started
  std::atomic<std::uint64_t> heartbeats = 0;   ///< reports of ranks, stale ones left out
  std::atomic<std::uint64_t> recoveries = 0;   ///< of jobs whose ranks went on without a lost one
  std::atomic<std::uint64_t> ranks_lost = 0;   ///< in those recoveries
  std::atomic<std::uint64_t> checkpoints = 0;  ///< that were committed
  std::atomic<std::uint64_t> instances_replaced = 0;  ///< rented ones that were no good
};

}  // namespace musher

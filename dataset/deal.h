#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace musher {

/// Consecutive samples of one shard.
struct Run {
  std::uint32_t shard = 0;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  bool operator==(const Run&) const = default;
};

/// What the deal depends on beside the manifest; the number of ranks is not among it.
struct DealOptions {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  std::uint32_t virtual_workers = 1;
  std::uint64_t window = 1;  ///< samples; window_samples()
  bool shuffle = true;       ///< false: manifest order, for evaluation
};

/// How many of `samples` virtual worker `v` of `virtual_workers` gets: they differ by at most one.
std::uint64_t share(std::uint64_t samples, std::uint32_t virtual_workers, std::uint32_t v);

/// Deals an epoch's samples to virtual workers: the shards are shuffled by (seed, epoch) and laid
/// end to end, and virtual worker v gets the v-th of V near-equal slices, as runs. Every sample
/// falls to exactly one virtual worker. A pure function of its arguments. `shard_samples`: samples
/// of each shard of the manifest. This is the canonical-node partition of MosaicML Streaming, with
/// slices that need not be equal.
std::vector<std::vector<Run>> deal(std::span<const std::uint64_t> shard_samples,
                                   const DealOptions& options);

/// deal(…)[v], without the slices of the others: what a rank asks for that was given v.
std::vector<Run> deal_to(std::span<const std::uint64_t> shard_samples, const DealOptions& options,
                         std::uint32_t v);

/// How many samples of a virtual worker's slice are shuffled among each other: as many as fill
/// about 32 MiB at the manifest's mean sample size, between 256 and 16384, so that what a reader
/// must hold is bounded.
std::uint64_t window_samples(std::uint64_t samples, std::uint64_t bytes);

/// The order of one window: entry i is the position within the window's samples that comes i-th.
/// `window_index` counts windows of `options.window` samples from the start of v's slice; `count`
/// is that window's number of samples (the last may be short).
std::vector<std::uint32_t> window_order(const DealOptions& options, std::uint32_t v,
                                        std::uint64_t window_index, std::uint64_t count);

/// Steps of an epoch when each virtual worker gives `per_step` samples a step: enough that the
/// largest share is used up. In the last step virtual workers may give fewer, or none.
std::uint64_t steps_per_epoch(std::uint64_t samples, std::uint32_t virtual_workers,
                              std::uint64_t per_step);

}  // namespace musher

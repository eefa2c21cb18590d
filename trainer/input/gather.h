#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "dataset/manifest.h"
#include "storage/cached_store.h"

namespace musher {

/// Which of a channel's shards: every `parts`-th, from `part` on.
struct Share {
  std::uint32_t part = 0;
  std::uint32_t parts = 1;
};

/// Brings the objects of a share of a channel to the cache of `store`, several at once, until all
/// is there, `stop` is set, or the cache can't keep more. `samples` gives the samples of shards, as
/// PlanSource::shards. Throws what it and the store throw.
void gather_channel(
    const std::function<std::vector<std::vector<Sample>>(std::vector<std::uint32_t>)>& samples,
    std::uint32_t shards, Share share, CachedStore& store, const std::atomic<bool>& stop);

}  // namespace musher

#include "trainer/input/gather.h"

#include <algorithm>
#include <string>

#include "common/parallel.h"

namespace musher {
namespace {

/// Objects brought side by side: a store's latency is what takes the time.
constexpr std::size_t kThreads = 8;
/// Shards whose samples are held at once.
constexpr std::uint32_t kShards = 16;

/// Each once. Samples of one object lie side by side.
std::vector<std::string> objects_of(const std::vector<std::vector<Sample>>& shards) {
  std::vector<std::string> objects;
  for (const auto& shard : shards) {
    for (const Sample& sample : shard) {
      if (objects.empty() || objects.back() != sample.object) objects.push_back(sample.object);
    }
  }
  return objects;
}

}  // namespace

void gather_channel(
    const std::function<std::vector<std::vector<Sample>>(std::vector<std::uint32_t>)>& samples,
    std::uint32_t shards, Share share, CachedStore& store, const std::atomic<bool>& stop) {
  std::atomic<bool> full = false;
  for (std::uint32_t next = share.part; next < shards && !stop && !full;) {
    std::vector<std::uint32_t> wanted;
    for (; next < shards && wanted.size() < kShards; next += share.parts) wanted.push_back(next);
    const std::vector<std::string> objects = objects_of(samples(std::move(wanted)));
    in_parallel("input-gather", kThreads, objects.size(), [&](std::size_t i) {
      if (!stop && !full && !store.bring(objects[i])) full = true;
    });
  }
}

}  // namespace musher

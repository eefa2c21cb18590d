#include "dataset/deal.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "common/error.h"
#include "common/random.h"

namespace musher {
namespace {

__extension__ using Wide = unsigned __int128;

// Keep the two kinds of choice apart: without them, window 0 of some virtual worker could follow
// the shards' stream.
constexpr std::uint64_t kShardStream = 0x7368617264730001;
constexpr std::uint64_t kWindowStream = 0x77696e646f770002;

constexpr std::uint64_t kWindowBytes = 32 << 20;
constexpr std::uint64_t kLeastWindow = 256;
constexpr std::uint64_t kMostWindow = 16'384;

void check_virtual_workers(std::uint32_t virtual_workers, std::uint32_t v) {
  if (v < virtual_workers) return;
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("virtual worker {} of {}: there must be one more at least", v, virtual_workers));
}

/// Where v's slice begins among N samples laid end to end.
std::uint64_t slice_begin(std::uint64_t samples, std::uint32_t virtual_workers, std::uint32_t v) {
  return static_cast<std::uint64_t>(static_cast<Wide>(samples) * v / virtual_workers);
}

/// The shards in the epoch's order, laid end to end, taken from the front.
class Line {
 public:
  Line(std::span<const std::uint64_t> shard_samples, const DealOptions& options)
      : shard_samples_(shard_samples), order_(shard_samples.size()) {
    std::iota(order_.begin(), order_.end(), 0U);
    if (options.shuffle) Random{kShardStream, options.seed, options.epoch}.shuffle(order_);
  }

  std::uint64_t samples() const {
    return std::accumulate(shard_samples_.begin(), shard_samples_.end(), std::uint64_t{0});
  }

  void skip(std::uint64_t count) {
    for (; count >= left_of_shard() && next_ < order_.size(); ++next_, taken_ = 0) {
      count -= left_of_shard();
    }
    taken_ += count;
  }

  /// REQUIRES: as many are left.
  std::vector<Run> take(std::uint64_t count) {
    std::vector<Run> runs;
    while (count > 0) {
      const std::uint64_t now = std::min(count, left_of_shard());
      if (now > 0) runs.push_back({.shard = order_[next_], .first = taken_, .count = now});
      count -= now;
      skip(now);
    }
    return runs;
  }

 private:
  std::uint64_t left_of_shard() const {
    return next_ < order_.size() ? shard_samples_[order_[next_]] - taken_ : 0;
  }

  std::span<const std::uint64_t> shard_samples_;
  std::vector<std::uint32_t> order_;
  std::size_t next_ = 0;     ///< index into order_
  std::uint64_t taken_ = 0;  ///< samples of that shard
};

}  // namespace

std::uint64_t share(std::uint64_t samples, std::uint32_t virtual_workers, std::uint32_t v) {
  check_virtual_workers(virtual_workers, v);
  return slice_begin(samples, virtual_workers, v + 1) - slice_begin(samples, virtual_workers, v);
}

std::vector<std::vector<Run>> deal(std::span<const std::uint64_t> shard_samples,
                                   const DealOptions& options) {
  check_virtual_workers(options.virtual_workers, 0);
  Line line(shard_samples, options);
  const std::uint64_t samples = line.samples();
  std::vector<std::vector<Run>> dealt(options.virtual_workers);
  for (std::uint32_t v = 0; v < options.virtual_workers; ++v) {
    dealt[v] = line.take(share(samples, options.virtual_workers, v));
  }
  return dealt;
}

std::vector<Run> deal_to(std::span<const std::uint64_t> shard_samples, const DealOptions& options,
                         std::uint32_t v) {
  check_virtual_workers(options.virtual_workers, v);
  Line line(shard_samples, options);
  const std::uint64_t samples = line.samples();
  line.skip(slice_begin(samples, options.virtual_workers, v));
  return line.take(share(samples, options.virtual_workers, v));
}

std::uint64_t window_samples(std::uint64_t samples, std::uint64_t bytes) {
  if (bytes == 0) return kMostWindow;
  const Wide fill = static_cast<Wide>(kWindowBytes) * samples / bytes;
  return static_cast<std::uint64_t>(std::clamp<Wide>(fill, kLeastWindow, kMostWindow));
}

std::vector<std::uint32_t> window_order(const DealOptions& options, std::uint32_t v,
                                        std::uint64_t window_index, std::uint64_t count) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  if (options.shuffle) {
    Random{kWindowStream, options.seed, options.epoch, v, window_index}.shuffle(order);
  }
  return order;
}

std::uint64_t steps_per_epoch(std::uint64_t samples, std::uint32_t virtual_workers,
                              std::uint64_t per_step) {
  if (virtual_workers == 0 || per_step == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} virtual workers with {} samples a step: both must be at least 1",
                            virtual_workers, per_step));
  }
  const auto rounded_up = [](std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); };
  return rounded_up(rounded_up(samples, virtual_workers), per_step);
}

}  // namespace musher

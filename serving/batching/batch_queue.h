#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "serving/batching/batching_options.h"

namespace musher {

/// Which requests run together and when: first in, first out, with the time as a parameter, so that
/// it is tested without waiting. No thread, no lock (batcher.h has those). After TensorFlow
/// Serving's batching and Triton's dynamic batcher.
template <typename Item>
class BatchQueue {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Ticket = std::uint64_t;

  /// REQUIRES: options that check() lets pass.
  explicit BatchQueue(BatchingOptions options) : options_(std::move(options)) {}

  /// Empty where the queue is full. `item` is moved from where it is taken.
  std::optional<Ticket> push(Item&& item, Time now, Time deadline) {
    if (waiting_.size() >= options_.max_queued) return std::nullopt;
    waiting_.push_back({++last_ticket_, std::move(item), now, deadline});
    no_expiry_before_ = std::min(no_expiry_before_, deadline);
    return last_ticket_;
  }

  /// Takes one out; empty where it has gone already.
  std::optional<Item> remove(Ticket ticket) {
    // Tickets ascend.
    const auto found = std::ranges::lower_bound(waiting_, ticket, {}, &Waiting::ticket);
    if (found == waiting_.end() || found->ticket != ticket) return std::nullopt;
    Item item = std::move(found->item);
    waiting_.erase(found);
    return item;
  }

  /// Those whose deadline has passed, which nobody waits for any more.
  std::vector<Item> take_expired(Time now) {
    std::vector<Item> expired;
    if (now < no_expiry_before_) return expired;  // asked for with each batch, and rarely true
    std::erase_if(waiting_, [&](Waiting& waiting) {
      if (waiting.deadline > now) return false;
      expired.push_back(std::move(waiting.item));
      return true;
    });
    no_expiry_before_ = next_expiry().value_or(Time::max());
    return expired;
  }

  /// What should run now, where somebody is free to run it; empty: nothing yet. `hurry`: whatever
  /// is there.
  std::vector<Item> take_batch(Time now, bool hurry = false) {
    const std::size_t count = hurry ? std::min(waiting_.size(), options_.max_batch_size) : due(now);
    std::vector<Item> batch;
    batch.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      batch.push_back(std::move(waiting_.front().item));
      waiting_.pop_front();
    }
    return batch;
  }

  /// Whether take_batch() would give something.
  bool has_batch(Time now) const { return due(now) > 0; }

  /// When take_batch() will give something if nothing more comes.
  std::optional<Time> next_batch() const {
    if (waiting_.empty()) return std::nullopt;
    if (preferred(waiting_.size()) > 0) return waiting_.front().came;
    return waiting_.front().came + options_.max_batch_delay;
  }
  /// When take_expired() will.
  std::optional<Time> next_expiry() const {
    if (waiting_.empty()) return std::nullopt;
    return std::ranges::min_element(waiting_, {}, &Waiting::deadline)->deadline;
  }

  std::size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    Ticket ticket;
    Item item;
    Time came;
    Time deadline;
  };

  /// The largest size that runs without a wait; 0: none.
  std::size_t preferred(std::size_t waiting) const {
    if (waiting >= options_.max_batch_size) return options_.max_batch_size;
    const auto above = std::ranges::upper_bound(options_.preferred_sizes, waiting);
    return above == options_.preferred_sizes.begin() ? 0 : *std::prev(above);
  }
  std::size_t due(Time now) const {
    if (waiting_.empty()) return 0;
    // One that has waited long enough does not wait for another batch.
    if (now >= waiting_.front().came + options_.max_batch_delay)
      return std::min(waiting_.size(), options_.max_batch_size);
    return preferred(waiting_.size());
  }

  BatchingOptions options_;
  std::deque<Waiting> waiting_;
  Ticket last_ticket_ = 0;
  Time no_expiry_before_ = Time::max();  ///< no deadline is earlier; some may be later
};

}  // namespace musher

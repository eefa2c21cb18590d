#include "thread_collective.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "common/error.h"

namespace musher {

/// What all ranks share, over all generations.
struct ThreadRanks::Hub {
  struct Group {
    std::vector<int> ranks;  ///< as first numbered
    bool aborted = false;
    std::map<int, std::map<int, std::vector<std::byte>>>
        rounds;  ///< number → rank → what it brings
    std::set<int> shrinking;
    std::set<int> growing;
    std::shared_ptr<Group> next;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::set<int> dead;
  std::shared_ptr<Group> first = std::make_shared<Group>();
  std::shared_ptr<Group> grown;  ///< the newest that a newcomer is in

  bool is_broken(const Group& group) const {
    return group.aborted || std::any_of(group.ranks.begin(), group.ranks.end(),
                                        [&](int r) { return dead.contains(r); });
  }
};

namespace {

using Hub = ThreadRanks::Hub;

constexpr int kNewcomer = 1000;  // its number; there is one at most

class ThreadCollective final : public Collective {
 public:
  ThreadCollective(std::shared_ptr<Hub> hub, std::shared_ptr<Hub::Group> group, int first_rank)
      : hub_(std::move(hub)), group_(std::move(group)), first_rank_(first_rank) {}

  int rank() const override {
    return static_cast<int>(std::find(group_->ranks.begin(), group_->ranks.end(), first_rank_) -
                            group_->ranks.begin());
  }
  int size() const override { return static_cast<int>(group_->ranks.size()); }

  std::shared_ptr<void> allocate(std::size_t bytes, Deadline) override {
    return {std::calloc(1, bytes), std::free};
  }
  std::unique_ptr<Work> all_reduce(Buffer) override {
    throw Error(ErrorCode::kInternal, "NCCL's bootstrap reduces nothing");
  }

  void broadcast(Buffer buffer, int root, Deadline deadline) override {
    const auto all = exchange(buffer, deadline);
    std::memcpy(buffer.data, all.at(root).data(), buffer.bytes());
  }

  void all_gather(Buffer send, Buffer receive, Deadline deadline) override {
    auto* to = static_cast<std::byte*>(receive.data);
    for (const auto& [rank, bytes] : exchange(send, deadline)) {
      std::memcpy(to + static_cast<std::size_t>(rank) * send.bytes(), bytes.data(), send.bytes());
    }
  }

  std::string transport() const override { return "threads"; }
  Collective& host() override { return *this; }

  std::unique_ptr<Collective> grow(Newcomer*, Deadline deadline) override {
    std::unique_lock lock(hub_->mutex);
    group_->growing.insert(first_rank_);
    hub_->changed.notify_all();
    const bool ended = hub_->changed.wait_until(lock, deadline.when(), [&] {
      return group_->growing.size() == group_->ranks.size() || hub_->is_broken(*group_);
    });
    if (!ended || hub_->is_broken(*group_)) throw PeerFailure("a rank died or gave up");
    if (!group_->next) {
      group_->next = std::make_shared<Hub::Group>();
      group_->next->ranks = group_->ranks;
      group_->next->ranks.push_back(kNewcomer);
      hub_->grown = group_->next;
      hub_->changed.notify_all();
    }
    return std::make_unique<ThreadCollective>(hub_, group_->next, first_rank_);
  }

  std::optional<std::string> failure() override {
    std::lock_guard lock(hub_->mutex);
    if (hub_->is_broken(*group_)) return "a rank died or gave up";
    return std::nullopt;
  }

  void abort() override {
    std::lock_guard lock(hub_->mutex);
    group_->aborted = true;
    hub_->changed.notify_all();
  }

  std::unique_ptr<Collective> shrink(Deadline deadline) override {
    abort();
    std::unique_lock lock(hub_->mutex);
    group_->shrinking.insert(first_rank_);
    hub_->changed.notify_all();
    const bool all = hub_->changed.wait_until(lock, deadline.when(), [&] {
      return group_->next || std::all_of(group_->ranks.begin(), group_->ranks.end(), [&](int rank) {
               return hub_->dead.contains(rank) || group_->shrinking.contains(rank);
             });
    });
    if (!all) throw PeerFailure("shrink did not end by its deadline");
    if (!group_->next) {
      group_->next = std::make_shared<Hub::Group>();
      for (int rank : group_->ranks) {
        if (!hub_->dead.contains(rank)) group_->next->ranks.push_back(rank);
      }
    }
    return std::make_unique<ThreadCollective>(hub_, group_->next, first_rank_);
  }

 private:
  std::map<int, std::vector<std::byte>> exchange(const Buffer& mine, Deadline deadline) {
    const int own = rank();
    std::unique_lock lock(hub_->mutex);
    const int round = round_++;
    auto& came = group_->rounds[round];
    const auto* bytes = static_cast<const std::byte*>(mine.data);
    came[own] = {bytes, bytes + mine.bytes()};
    hub_->changed.notify_all();
    const bool ended = hub_->changed.wait_until(lock, deadline.when(), [&] {
      return came.size() == group_->ranks.size() || hub_->is_broken(*group_);
    });
    if (!ended || came.size() < group_->ranks.size()) throw PeerFailure("a rank died or gave up");
    return came;
  }

  std::shared_ptr<Hub> hub_;
  std::shared_ptr<Hub::Group> group_;
  int first_rank_;
  int round_ = 0;
};

}  // namespace

ThreadRanks::ThreadRanks(int size) : hub_(std::make_shared<Hub>()) {
  for (int rank = 0; rank < size; ++rank) hub_->first->ranks.push_back(rank);
}
ThreadRanks::~ThreadRanks() = default;

std::unique_ptr<Collective> ThreadRanks::collective(int rank) {
  return std::make_unique<ThreadCollective>(hub_, hub_->first, rank);
}

std::unique_ptr<Collective> ThreadRanks::newcomer() {
  std::unique_lock lock(hub_->mutex);
  hub_->changed.wait(lock, [&] { return hub_->grown != nullptr; });
  return std::make_unique<ThreadCollective>(hub_, hub_->grown, kNewcomer);
}

void ThreadRanks::kill(int rank) {
  std::lock_guard lock(hub_->mutex);
  hub_->dead.insert(rank);
  hub_->changed.notify_all();
}

}  // namespace musher

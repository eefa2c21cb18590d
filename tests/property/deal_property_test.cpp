// What must hold of every manifest and every number of virtual workers and ranks, tried on some
// hundred seeded random ones.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/checksum.h"
#include "common/random.h"
#include "dataset/deal.h"
#include "dataset/digest.h"
#include "dataset/manifest.h"

namespace musher {
namespace {

/// A sample by its place in the manifest: the samples of the shards before, plus its position.
using SampleId = std::uint64_t;
/// What one step, or one epoch, gives, by virtual worker.
using ByVirtualWorker = std::map<std::uint32_t, std::vector<SampleId>>;

struct Case {
  std::vector<std::uint64_t> shards;
  DealOptions options;
  std::uint64_t per_step = 1;

  std::uint64_t samples() const {
    return std::accumulate(shards.begin(), shards.end(), std::uint64_t{0});
  }
  std::uint64_t steps() const {
    return steps_per_epoch(samples(), options.virtual_workers, per_step);
  }
};

/// 0 to 5000 samples in ragged shards, some empty; 1 to 64 virtual workers.
Case random_case(std::uint64_t number) {
  Random random{0xca5e, number};
  Case made;
  const std::uint64_t samples = random.below(20) == 0 ? random.below(3) : random.below(5001);
  const std::uint64_t largest = 1 + random.below(random.below(2) == 0 ? 10 : 1000);
  for (std::uint64_t left = samples; left > 0;) {
    const std::uint64_t count = std::min(left, random.below(largest + 1));
    made.shards.push_back(count);
    left -= count;
  }
  made.options.seed = random.next();
  made.options.epoch = random.below(100);
  made.options.virtual_workers = static_cast<std::uint32_t>(1 + random.below(64));
  made.options.window = 1 + random.below(random.below(2) == 0 ? 8 : 400);
  made.options.shuffle = random.below(8) != 0;
  made.per_step = 1 + random.below(16);
  return made;
}

template <typename Check>
void for_random_cases(std::uint64_t count, const Check& check) {
  for (std::uint64_t number = 0; number < count && !testing::Test::HasFailure(); ++number) {
    const Case made = random_case(number);
    SCOPED_TRACE(fmt::format("case {}: {} samples in {} shards, {} virtual workers, window {}",
                             number, made.samples(), made.shards.size(),
                             made.options.virtual_workers, made.options.window));
    check(made);
  }
}

std::vector<SampleId> expand(const Case& made, const std::vector<musher::Run>& runs) {
  std::vector<SampleId> first(made.shards.size() + 1);
  std::inclusive_scan(made.shards.begin(), made.shards.end(), first.begin() + 1);
  std::vector<SampleId> samples;
  for (const musher::Run& run : runs) {
    for (std::uint64_t i = 0; i < run.count; ++i)
      samples.push_back(first[run.shard] + run.first + i);
  }
  return samples;
}

/// The stream of virtual worker v, as a rank makes it that knows nothing but the manifest, the
/// options and v.
std::vector<SampleId> stream(const Case& made, std::uint32_t v) {
  const std::vector<SampleId> slice = expand(made, deal_to(made.shards, made.options, v));
  std::vector<SampleId> samples;
  for (std::uint64_t begin = 0; begin < slice.size(); begin += made.options.window) {
    const std::uint64_t count = std::min<std::uint64_t>(made.options.window, slice.size() - begin);
    for (std::uint32_t position :
         window_order(made.options, v, begin / made.options.window, count)) {
      samples.push_back(slice[begin + position]);
    }
  }
  return samples;
}

/// One process of a job: it makes a virtual worker's stream when it is first given it, and enters
/// at any step.
class Rank {
 public:
  explicit Rank(const Case& made) : case_(made) {}

  void give(std::uint32_t v, std::uint64_t step, ByVirtualWorker& batch) {
    auto known = streams_.find(v);
    if (known == streams_.end()) known = streams_.emplace(v, stream(case_, v)).first;
    const auto& samples = known->second;
    const std::uint64_t begin = std::min<std::uint64_t>(step * case_.per_step, samples.size());
    const std::uint64_t end = std::min<std::uint64_t>(begin + case_.per_step, samples.size());
    batch[v].assign(samples.begin() + static_cast<std::ptrdiff_t>(begin),
                    samples.begin() + static_cast<std::ptrdiff_t>(end));
  }

 private:
  const Case& case_;
  std::map<std::uint32_t, std::vector<SampleId>> streams_;
};

/// All global batches of an epoch with this many ranks; the map virtual worker → rank changes every
/// few steps, as when ranks die and come back.
std::vector<ByVirtualWorker> run_epoch(const Case& made, std::uint64_t ranks,
                                       std::uint64_t map_seed) {
  Random random{0x3a9, map_seed};
  std::vector<Rank> team(ranks, Rank(made));
  std::vector<std::uint64_t> owner(made.options.virtual_workers);
  std::vector<ByVirtualWorker> batches(made.steps());
  for (std::uint64_t step = 0; step < batches.size(); ++step) {
    if (step == 0 || random.below(5) == 0) {
      for (std::uint64_t& rank : owner) rank = random.below(ranks);
    }
    for (std::uint32_t v = 0; v < owner.size(); ++v) team[owner[v]].give(v, step, batches[step]);
  }
  return batches;
}

std::vector<SampleId> all_of(const std::vector<ByVirtualWorker>& batches) {
  std::vector<SampleId> samples;
  for (const ByVirtualWorker& batch : batches) {
    for (const auto& [v, given] : batch) samples.insert(samples.end(), given.begin(), given.end());
  }
  return samples;
}

std::vector<SampleId> count_up(std::uint64_t samples) {
  std::vector<SampleId> ids(samples);
  std::iota(ids.begin(), ids.end(), SampleId{0});
  return ids;
}

TEST(DealProperty, EachSampleIsDealtExactlyOnce) {
  for_random_cases(400, [](const Case& made) {
    std::vector<SampleId> dealt;
    for (const auto& runs : deal(made.shards, made.options)) {
      const auto samples = expand(made, runs);
      dealt.insert(dealt.end(), samples.begin(), samples.end());
    }
    if (!made.options.shuffle) {
      EXPECT_TRUE(std::ranges::is_sorted(dealt));
    }
    std::ranges::sort(dealt);
    EXPECT_EQ(dealt, count_up(made.samples()));
  });
}

TEST(DealProperty, SharesDifferByAtMostOneAndAreWhatIsDealt) {
  for_random_cases(400, [](const Case& made) {
    const std::uint32_t workers = made.options.virtual_workers;
    const auto dealt = deal(made.shards, made.options);
    ASSERT_EQ(dealt.size(), workers);
    for (std::uint32_t v = 0; v < workers; ++v) {
      const std::uint64_t wanted = share(made.samples(), workers, v);
      EXPECT_EQ(expand(made, dealt[v]).size(), wanted);
      EXPECT_GE(wanted, made.samples() / workers);
      EXPECT_LE(wanted, (made.samples() + workers - 1) / workers);
    }
  });
}

TEST(DealProperty, RunsAreWholeAndInsideTheirShards) {
  for_random_cases(400, [](const Case& made) {
    for (const auto& runs : deal(made.shards, made.options)) {
      for (std::size_t i = 0; i < runs.size(); ++i) {
        ASSERT_LT(runs[i].shard, made.shards.size());
        EXPECT_GT(runs[i].count, 0U);
        EXPECT_LE(runs[i].first + runs[i].count, made.shards[runs[i].shard]);
        if (i > 0) {
          EXPECT_NE(runs[i].shard, runs[i - 1].shard);
        }
      }
    }
  });
}

TEST(DealProperty, OneSliceAloneIsTheSliceOfTheWholeDeal) {
  for_random_cases(200, [](const Case& made) {
    const auto dealt = deal(made.shards, made.options);
    for (std::uint32_t v = 0; v < dealt.size(); ++v) {
      EXPECT_EQ(deal_to(made.shards, made.options, v), dealt[v]);
    }
  });
}

TEST(DealProperty, WindowOrdersArePermutations) {
  for_random_cases(400, [](const Case& made) {
    for (std::uint64_t window = 0; window < 4; ++window) {
      auto order = window_order(made.options, 0, window, made.options.window);
      std::ranges::sort(order);
      for (std::uint32_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], i);
      EXPECT_EQ(order.size(), made.options.window);
    }
  });
}

TEST(DealProperty, GlobalBatchesDoNotDependOnRanksOrOnWhoHoldsWhat) {
  for_random_cases(120, [](const Case& made) {
    const auto alone = run_epoch(made, 1, 0);
    for (std::uint64_t ranks : {std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{17}}) {
      ASSERT_EQ(run_epoch(made, ranks, ranks), alone) << ranks << " ranks";
    }
  });
}

TEST(DealProperty, TheStepsOfAnEpochUseUpEverySampleOnce) {
  for_random_cases(200, [](const Case& made) {
    const auto batches = run_epoch(made, 2, 1);
    auto samples = all_of(batches);
    std::ranges::sort(samples);
    EXPECT_EQ(samples, count_up(made.samples()));
    if (!batches.empty()) {
      EXPECT_FALSE(all_of({batches.back()}).empty()) << "a step too many";
    }
  });
}

TEST(DealProperty, OtherEpochsAndSeedsGiveOtherOrders) {
  for_random_cases(200, [](const Case& made) {
    const auto occupied =
        std::ranges::count_if(made.shards, [](std::uint64_t count) { return count > 0; });
    if (!made.options.shuffle || occupied < 20) return;
    const auto order = [&](std::uint64_t seed, std::uint64_t epoch) {
      Case other = made;
      other.options.seed = seed;
      other.options.epoch = epoch;
      return all_of(run_epoch(other, 1, 0));
    };
    const auto [seed, epoch] = std::pair(made.options.seed, made.options.epoch);
    const std::set<std::vector<SampleId>> orders = {order(seed, epoch), order(seed, epoch + 1),
                                                    order(seed + 1, epoch), order(epoch, seed),
                                                    order(seed + 1, epoch + 1)};
    EXPECT_EQ(orders.size(), 5U);
  });
}

// ---- the digest ----

Manifest manifest_of(const Case& made) {
  Manifest manifest({"only"});
  SampleId id = 0;
  for (const std::uint64_t count : made.shards) {
    std::vector<Sample> samples(count);
    for (Sample& sample : samples) sample.key = sample.object = fmt::format("only/{}.jpg", id++);
    manifest.add_shard(samples);
  }
  return manifest;
}

Digest digest_of(const std::vector<SampleId>& samples, std::uint64_t epoch) {
  Digest digest;
  for (const SampleId id : samples) digest.add(hash64(fmt::format("only/{}.jpg", id)), epoch);
  return digest;
}

TEST(DigestProperty, FindsALostARepeatedAndASwappedSample) {
  for_random_cases(150, [](const Case& made) {
    if (made.samples() < 2) return;
    const std::uint64_t epoch = made.options.epoch;
    const Digest wanted = epoch_digest(manifest_of(made), epoch);
    const std::vector<SampleId> given = all_of(run_epoch(made, 3, 5));
    EXPECT_EQ(digest_of(given, epoch), wanted);

    Random random{made.options.seed};
    const auto place = [&] {
      return given.begin() + static_cast<std::ptrdiff_t>(random.below(given.size()));
    };
    std::vector<SampleId> lost = given;
    lost.erase(lost.begin() + (place() - given.begin()));
    EXPECT_NE(digest_of(lost, epoch).sum, wanted.sum);

    std::vector<SampleId> repeated = given;
    repeated.push_back(*place());
    EXPECT_NE(digest_of(repeated, epoch).sum, wanted.sum);

    // One sample twice in the place of another: the count is right, the sum is not.
    std::vector<SampleId> swapped = given;
    swapped.front() = swapped.back();
    EXPECT_EQ(digest_of(swapped, epoch).samples, wanted.samples);
    EXPECT_NE(digest_of(swapped, epoch).sum, wanted.sum);

    // A batch that belongs to the epoch before.
    EXPECT_NE(digest_of(given, epoch + 1).sum, wanted.sum);
  });
}

TEST(DigestProperty, PiecesOfRanksAddUpToTheEpoch) {
  for_random_cases(100, [](const Case& made) {
    std::array<float, 8> pieces{};
    Random random{made.options.seed};
    std::vector<Digest> ranks(1 + random.below(64));
    for (SampleId id = 0; id < made.samples(); ++id) {
      ranks[random.below(ranks.size())].add(hash64(fmt::format("only/{}.jpg", id)), 3);
    }
    for (const Digest& rank : ranks) {
      const auto more = split_digest(rank.sum);
      for (std::size_t i = 0; i < pieces.size(); ++i) pieces[i] += more[i];
    }
    EXPECT_EQ(join_digest(pieces), epoch_digest(manifest_of(made), 3).sum);
  });
}

// ---- is the shuffle fair? ----

/// Chi-square of how often item i came to place p over many shuffles, against all being alike.
/// `counts`: [item][place].
double chi_square(const std::vector<std::vector<int>>& counts, double expected) {
  double sum = 0;
  for (const auto& row : counts) {
    for (const int count : row) sum += (count - expected) * (count - expected) / expected;
  }
  return sum;
}

// (10 - 1)^2 = 81 degrees of freedom: mean 81, deviation 12.7. A fair shuffle comes to more than
// 150 once in 200,000 times; one that, say, never leaves an item in its place comes to more than
// 1,000.
constexpr double kSuspicious = 150;
constexpr int kItems = 10;
constexpr int kRounds = 20'000;

TEST(ShuffleProperty, EveryShardComesToEveryPlaceAlike) {
  const std::vector<std::uint64_t> shards(kItems, 1);
  std::vector counts(kItems, std::vector<int>(kItems));
  for (int round = 0; round < kRounds; ++round) {
    DealOptions options{
        .seed = 42, .epoch = static_cast<std::uint64_t>(round), .virtual_workers = kItems};
    const auto dealt = deal(shards, options);
    for (int place = 0; place < kItems; ++place) ++counts[dealt[place][0].shard][place];
  }
  EXPECT_LT(chi_square(counts, kRounds / static_cast<double>(kItems)), kSuspicious);
}

TEST(ShuffleProperty, EverySampleOfAWindowComesToEveryPlaceAlike) {
  for (const bool by_window : {false, true}) {
    std::vector counts(kItems, std::vector<int>(kItems));
    for (int round = 0; round < kRounds; ++round) {
      const auto number = static_cast<std::uint32_t>(round);
      const auto order =
          window_order({.seed = 42}, by_window ? 0 : number, by_window ? number : 0, kItems);
      for (int place = 0; place < kItems; ++place) ++counts[order[place]][place];
    }
    EXPECT_LT(chi_square(counts, kRounds / static_cast<double>(kItems)), kSuspicious);
  }
}

// Virtual workers must not walk in step, or a global batch would hold the same places of every
// slice.
TEST(ShuffleProperty, WindowsOfTwoVirtualWorkersAreNotAlike) {
  std::vector counts(kItems, std::vector<int>(kItems));
  for (int round = 0; round < kRounds; ++round) {
    const auto window = static_cast<std::uint64_t>(round);
    const auto one = window_order({.seed = 42}, 0, window, kItems);
    const auto other = window_order({.seed = 42}, 1, window, kItems);
    ++counts[one[0]][other[0]];
  }
  EXPECT_LT(chi_square(counts, kRounds / static_cast<double>(kItems * kItems)), 170);
}

}  // namespace
}  // namespace musher

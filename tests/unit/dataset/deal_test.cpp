#include "dataset/deal.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {

void PrintTo(const Run& run, std::ostream* out) {
  *out << run.shard << "[" << run.first << "+" << run.count << "]";
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Share, SplitsNearEqually) {
  EXPECT_EQ(share(10, 4, 0), 2U);
  EXPECT_EQ(share(10, 4, 1), 3U);
  EXPECT_EQ(share(10, 4, 2), 2U);
  EXPECT_EQ(share(10, 4, 3), 3U);
  EXPECT_EQ(share(0, 4, 3), 0U);
  EXPECT_EQ(share(1, 3, 0) + share(1, 3, 1) + share(1, 3, 2), 1U);
}

TEST(Share, DoesNotOverflow) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(share(kMost, 4, 0), kMost / 4);
  EXPECT_EQ(share(kMost, 4, 3), kMost / 4 + 1);
  EXPECT_EQ(share(kMost, std::numeric_limits<std::uint32_t>::max(), 17), 0x1'0000'0001U);
}

TEST(Share, RefusesAVirtualWorkerThatIsNone) {
  test::expect_error(ErrorCode::kInvalidArgument, {"virtual worker 4 of 4"},
                     [] { share(10, 4, 4); });
  test::expect_error(ErrorCode::kInvalidArgument, {"virtual worker 0 of 0"},
                     [] { deal(std::vector<std::uint64_t>{1}, {.virtual_workers = 0}); });
}

TEST(Deal, InManifestOrderWithoutShuffle) {
  const std::vector<std::uint64_t> shards = {3, 0, 4, 3};
  const auto dealt = deal(shards, {.virtual_workers = 3, .shuffle = false});
  ASSERT_EQ(dealt.size(), 3U);
  EXPECT_THAT(dealt[0], ElementsAre(musher::Run{0, 0, 3}));
  EXPECT_THAT(dealt[1], ElementsAre(musher::Run{2, 0, 3}));
  EXPECT_THAT(dealt[2], ElementsAre(musher::Run{2, 3, 1}, musher::Run{3, 0, 3}));
}

TEST(Deal, GivesNothingWhereThereIsNothing) {
  for (const std::vector<std::uint64_t>& shards : {std::vector<std::uint64_t>{}, {0, 0, 0}}) {
    const auto dealt = deal(shards, {.virtual_workers = 2});
    EXPECT_THAT(dealt, ElementsAre(IsEmpty(), IsEmpty()));
    EXPECT_THAT(deal_to(shards, {.virtual_workers = 2}, 1), IsEmpty());
  }
}

// A checkpoint names a position in this order: it must be the same on every machine and in every
// version.
TEST(Deal, IsTheSameForEver) {
  const std::vector<std::uint64_t> shards = {5, 5, 5, 5, 5, 5};
  const DealOptions options{.seed = 7, .epoch = 2, .virtual_workers = 2};
  std::vector<std::uint32_t> order;
  for (const auto& runs : deal(shards, options)) {
    for (const musher::Run& run : runs) order.push_back(run.shard);
  }
  EXPECT_THAT(order, ElementsAre(5, 2, 3, 0, 4, 1));
  EXPECT_THAT(window_order(options, 1, 3, 8), ElementsAre(1, 6, 3, 2, 7, 4, 0, 5));
}

TEST(WindowSamples, FillsAbout32MiB) {
  EXPECT_EQ(window_samples(1'000'000, 1'000'000 * 100'000ULL), 335U);
  EXPECT_EQ(window_samples(1'000'000, 1'000'000 * 10'000'000ULL), 256U);
  EXPECT_EQ(window_samples(60'000, 60'000 * 300ULL), 16'384U);
  EXPECT_EQ(window_samples(0, 0), 16'384U);
  EXPECT_EQ(window_samples(1ULL << 60, std::numeric_limits<std::uint64_t>::max()),
            2'097'152U / 128);
}

TEST(WindowOrder, IsTheIdentityWithoutShuffle) {
  EXPECT_THAT(window_order({.shuffle = false}, 0, 9, 4), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(window_order({}, 0, 0, 0), IsEmpty());
}

TEST(Steps, UseUpTheLargestShare) {
  EXPECT_EQ(steps_per_epoch(60'000, 8, 8), 938U);
  EXPECT_EQ(steps_per_epoch(64, 8, 8), 1U);
  EXPECT_EQ(steps_per_epoch(65, 8, 8), 2U);
  EXPECT_EQ(steps_per_epoch(0, 8, 8), 0U);
  EXPECT_EQ(steps_per_epoch(std::numeric_limits<std::uint64_t>::max(), 1, 1),
            std::numeric_limits<std::uint64_t>::max());
  test::expect_error(ErrorCode::kInvalidArgument, {"at least 1"}, [] { steps_per_epoch(1, 0, 1); });
}

}  // namespace
}  // namespace musher

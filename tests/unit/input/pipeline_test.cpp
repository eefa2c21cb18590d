#include "trainer/input/pipeline.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "pipeline_testing.h"

namespace musher {
namespace {

TEST_F(PipelineTest, BatchesDoNotDependOnThreadsOrBudget) {
  Scene plain;
  plain.threads = 1;
  plain.fetch_threads = 1;
  const auto expected = all_batches(channel_, plain);
  for (std::size_t threads : {1, 4}) {
    for (std::uint64_t budget : {0, 3'000, 1 << 28}) {
      SCOPED_TRACE(fmt::format("{} threads, {} bytes", threads, budget));
      Scene scene;
      scene.threads = threads;
      scene.fetch_threads = threads;
      scene.prefetch_bytes = budget;
      expect_equal(expected, all_batches(channel_, scene));
    }
  }
}

TEST_F(PipelineTest, GzipTarsGiveTheSameBatches) {
  TestChannel packed;
  packed.add_folder(37);
  packed.add_gzip_tar(50);
  packed.add_folder(3);
  packed.add_gzip_tar(61);
  Scene scene;
  scene.prefetch_bytes = 3'000;
  int reads = 0;
  std::mutex mutex;
  packed.store.on_read = [&](std::string_view key, std::uint64_t, std::uint64_t) {
    const std::lock_guard lock(mutex);
    if (key.ends_with(".tar.gz")) ++reads;
  };
  expect_equal(all_batches(channel_, scene), all_batches(packed, scene));
  // Once for each window of a virtual worker that has samples of it, never for each sample.
  EXPECT_LE(reads, 2 * (50 + 61) / 16 + 2 * 2 * 4);
}

TEST_F(PipelineTest, EverySampleComesOncePerEpoch) {
  for (std::uint64_t per_step : {1, 3, 40, 1000}) {
    Scene scene;
    scene.per_step = per_step;
    std::map<std::uint64_t, Digest> digests;
    for (const Batch& batch : all_batches(channel_, scene)) {
      EXPECT_EQ(batch.digest.samples, static_cast<std::uint64_t>(batch.samples()));
      EXPECT_EQ(batch.inputs.size(), batch.targets.size() * 3);
      digests[batch.epoch] += batch.digest;
    }
    ASSERT_EQ(digests.size(), 2u);
    for (const auto& [epoch, digest] : digests)
      EXPECT_EQ(digest, epoch_digest(channel_.manifest, epoch));
  }
}

TEST_F(PipelineTest, EpochsDifferInOrderAndInChance) {
  const auto batches = all_batches(channel_, Scene{});
  const std::size_t steps = batches.size() / 2;
  EXPECT_NE(batches[0].inputs, batches[steps].inputs);
}

TEST_F(PipelineTest, TheRanksBatchesTogetherAreThatOfOneRank) {
  Scene mixed;
  mixed.mix = {.mixup_alpha = 0.4, .cutmix_alpha = 1.0};
  for (const Scene& scene : {Scene{}, mixed}) {
    const auto whole = all_batches(channel_, scene);
    for (std::uint32_t split : {1u, 2u, 3u}) {
      Scene low = scene;
      low.end_worker = split;
      Scene high = scene;
      high.first_worker = split;
      const auto first = all_batches(channel_, low);
      const auto second = all_batches(channel_, high);
      for (std::size_t i = 0; i < whole.size(); ++i) {
        Batch both = first[i];
        const auto append = [](auto& to, const auto& from) {
          to.insert(to.end(), from.begin(), from.end());
        };
        append(both.inputs, second[i].inputs);
        append(both.targets, second[i].targets);
        append(both.other_targets, second[i].other_targets);
        append(both.target_shares, second[i].target_shares);
        both.digest += second[i].digest;
        expect_equal(whole[i], both);
      }
    }
  }
}

TEST_F(PipelineTest, MixingStaysInsideAVirtualWorkersPart) {
  Scene mixed;
  mixed.mix = {.mixup_alpha = 1.0, .cutmix_alpha = 0};
  const auto plain = all_batches(channel_, Scene{});
  const auto batches = all_batches(channel_, mixed);
  std::set<float> shares;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_EQ(batches[i].digest, plain[i].digest);
    const std::size_t part = Scene{}.per_step;
    if (plain[i].targets.size() != 4 * part) continue;  // the end of an epoch
    for (std::size_t s = 0; s < plain[i].targets.size(); ++s) {
      const std::size_t before = s % part == 0 ? s + part - 1 : s - 1;
      const float share = batches[i].target_shares[s];
      const bool own_first = batches[i].targets[s] == plain[i].targets[s] &&
                             batches[i].other_targets[s] == plain[i].targets[before];
      const bool other_first = batches[i].targets[s] == plain[i].targets[before] &&
                               batches[i].other_targets[s] == plain[i].targets[s];
      ASSERT_TRUE(own_first || other_first);
      const double own = own_first ? share : 1 - share;
      const double expected =
          own * plain[i].inputs[3 * s + 2] + (1 - own) * plain[i].inputs[3 * before + 2];
      const bool same_label = own_first && other_first;
      if (!same_label) {
        EXPECT_NEAR(batches[i].inputs[3 * s + 2], expected, 1e-2);
      }
      shares.insert(share);
    }
  }
  EXPECT_GT(shares.size(), 20u);
}

TEST_F(PipelineTest, StartedInTheMiddleItGoesOnAsItWould) {
  const auto whole = all_batches(channel_, Scene{});
  for (std::size_t first :
       {std::size_t{1}, whole.size() / 2 - 1, whole.size() / 2, whole.size() - 1}) {
    SCOPED_TRACE(first);
    Scene scene;
    scene.first_step = first;
    const std::vector<Batch> tail(whole.begin() + static_cast<std::ptrdiff_t>(first), whole.end());
    expect_equal(tail, all_batches(channel_, scene));
  }
}

TEST_F(PipelineTest, AVirtualWorkerThatIsUsedUpGivesNothing) {
  TestChannel small;
  small.add_folder(9);  // four virtual workers: 3, 2, 2, 2
  Scene scene;
  scene.per_step = 2;
  scene.epochs = 1;
  scene.first_worker = 1;
  const auto batches = all_batches(small, scene);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].samples() + batches[1].samples(),
            9 - static_cast<std::int64_t>(share(9, 4, 0)));
  scene.first_worker = 4;  // a rank without virtual workers
  for (const Batch& batch : all_batches(small, scene)) {
    EXPECT_EQ(batch.samples(), 0);
    EXPECT_EQ(batch.input_shape, (std::vector<std::int64_t>{3, 1}));
  }
}

}  // namespace
}  // namespace musher

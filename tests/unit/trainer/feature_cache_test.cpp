#include "trainer/feature_cache.h"

#include <vector>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

/// Two features a sample, by its key; counts what it is asked for.
struct Backbone {
  std::vector<std::uint64_t> keys;
  std::int64_t computed = 0;

  at::Tensor all() const {
    at::Tensor features = at::empty({static_cast<std::int64_t>(keys.size()), 2});
    for (std::size_t i = 0; i < keys.size(); ++i)
      features[static_cast<std::int64_t>(i)].fill_(static_cast<double>(keys[i]));
    return features;
  }
  bool right(FeatureCache& cache) {
    const at::Tensor features = cache.features(keys, at::kCPU, [&](const at::Tensor& positions) {
      computed += positions.numel();
      return all().index_select(0, positions);
    });
    return features.equal(all());
  }
};

TEST(FeatureCache, EachSampleIsComputedOnceWhateverItsBatch) {
  FeatureCache cache(1 << 20);
  Backbone backbone;
  backbone.keys = {1, 2, 3};
  EXPECT_TRUE(backbone.right(cache));
  EXPECT_EQ(backbone.computed, 3);
  backbone.keys = {4, 3, 5, 1};
  EXPECT_TRUE(backbone.right(cache)) << "some are there, some are not";
  EXPECT_EQ(backbone.computed, 5);
  backbone.keys = {5, 4, 3, 2, 1, 1};
  EXPECT_TRUE(backbone.right(cache));
  EXPECT_EQ(backbone.computed, 5);
  EXPECT_EQ(cache.samples(), 5U);
}

TEST(FeatureCache, BeyondTheLimitIsComputedEachTime) {
  FeatureCache cache(2 * 2 * sizeof(float));
  Backbone backbone;
  backbone.keys = {1, 2, 3, 4};
  EXPECT_TRUE(backbone.right(cache));
  EXPECT_EQ(cache.samples(), 2U);
  EXPECT_EQ(cache.bytes(), 16);
  EXPECT_TRUE(backbone.right(cache));
  EXPECT_EQ(backbone.computed, 4 + 2);
}

}  // namespace
}  // namespace musher

#include "common/random.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

namespace musher {
namespace {

TEST(Random, EqualKeysGiveEqualStreamsAndOrderOfTheKeyMatters) {
  Random one{7, 1}, same{7, 1}, other{1, 7};
  const auto first = one.next();
  EXPECT_EQ(first, same.next());
  EXPECT_NE(first, other.next());
}

TEST(Random, StaysBelowItsBoundAndReachesEveryValue) {
  Random random{3};
  std::vector<int> seen(7);
  for (int i = 0; i < 7'000; ++i) {
    const auto value = random.below(7);
    ASSERT_LT(value, 7u);
    ++seen[value];
  }
  // 1000 expected of each; 5 standard deviations is 146.
  for (const int count : seen) EXPECT_NEAR(count, 1000, 200);
}

TEST(Random, ShuffleLosesNothing) {
  std::vector<int> values(1000);
  std::iota(values.begin(), values.end(), 0);
  auto shuffled = values;
  Random{42}.shuffle(shuffled);
  EXPECT_NE(shuffled, values);
  std::sort(shuffled.begin(), shuffled.end());
  EXPECT_EQ(shuffled, values);
}

}  // namespace
}  // namespace musher

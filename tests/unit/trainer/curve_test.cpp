#include "trainer/curve.h"

#include <gtest/gtest.h>

namespace musher {
namespace {

using std::chrono::seconds;

constexpr Curve::Clock::time_point kStart{};

EpochTally tally(std::uint64_t samples, double loss_sum) {
  EpochTally made;
  made.digest.samples = samples;
  made.loss_sum = loss_sum;
  return made;
}

TEST(Curve, APointIsOfTheStepsSinceTheOneBefore) {
  Curve curve(2, 100);
  curve.begin({}, kStart);
  EXPECT_FALSE(curve.point(1, false, tally(16, 8), kStart + seconds(1)));
  const auto first = curve.point(2, false, tally(32, 15), kStart + seconds(2));
  ASSERT_TRUE(first);
  EXPECT_DOUBLE_EQ(first->loss, 15.0 / 32);
  EXPECT_DOUBLE_EQ(first->samples_per_second, 16);
  curve.point(3, false, tally(48, 20), kStart + seconds(3));
  const auto second = curve.point(4, false, tally(64, 25), kStart + seconds(5));
  ASSERT_TRUE(second);
  EXPECT_DOUBLE_EQ(second->loss, 10.0 / 32);
  EXPECT_DOUBLE_EQ(second->samples_per_second, 32.0 / 3);
}

TEST(Curve, AnEpochsEndHasAPointAndNoneGoesOverIt) {
  Curve curve(10, 100);
  curve.begin({}, kStart);
  const auto end = curve.point(3, true, tally(40, 4), kStart + seconds(1));
  ASSERT_TRUE(end);
  EXPECT_DOUBLE_EQ(end->loss, 0.1);
  curve.begin({}, kStart + seconds(9));  // validation took the rest
  const auto next = curve.point(6, true, tally(40, 3), kStart + seconds(10));
  ASSERT_TRUE(next);
  EXPECT_DOUBLE_EQ(next->loss, 3.0 / 40);
  EXPECT_DOUBLE_EQ(next->samples_per_second, 40);
}

TEST(Curve, WhoComesIntoTheMiddleBeginsThere) {
  Curve curve(5, 100);
  curve.begin(tally(48, 20), kStart);
  EXPECT_DOUBLE_EQ(curve.point(5, false, tally(80, 30), kStart + seconds(1))->loss, 10.0 / 32);
}

TEST(Curve, NoneUnlessAskedForAndNeverTooMany) {
  Curve none(0, 100);
  EXPECT_FALSE(none.point(1, true, tally(16, 8), kStart));
  EXPECT_EQ(Curve(1, 10'000).every(), 1U);
  EXPECT_EQ(Curve(1, 10'001).every(), 2U);
  EXPECT_EQ(Curve(500, 1'000'000).every(), 500U);
}

}  // namespace
}  // namespace musher

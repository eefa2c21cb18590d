#include "serving/scaling/invocation_meter.h"

#include <gtest/gtest.h>

namespace musher {
namespace {

using std::chrono::milliseconds;
constexpr ScalingTime kStart{};

ScalingTime at(int ms) {
  return kStart + milliseconds(ms);
}

TEST(InvocationMeter, CountsWholePeriodsAndZeroIsData) {
  InvocationMeter meter(kStart, milliseconds(100), 3);
  EXPECT_TRUE(meter.recent(at(99)).empty());
  meter.add(at(10), 1, 1);
  meter.add(at(20), 2, 4);
  meter.add(at(210), 5, 2);
  const auto recent = meter.recent(at(300));
  ASSERT_EQ(recent.size(), 3u);
  EXPECT_DOUBLE_EQ(recent[0]->per_instance, 1.5);
  EXPECT_DOUBLE_EQ(recent[0]->total, 3);
  EXPECT_DOUBLE_EQ(recent[1]->total, 0);
  EXPECT_DOUBLE_EQ(recent[2]->per_instance, 2.5);
  EXPECT_EQ(meter.period_end(), at(400));
}

TEST(InvocationMeter, KeepsTheLastAndBearsALongSilence) {
  InvocationMeter meter(kStart, milliseconds(100), 2);
  for (int i = 0; i < 5; ++i) meter.add(at(100 * i), i, 1);
  EXPECT_DOUBLE_EQ(meter.recent(at(500))[0]->total, 3);
  EXPECT_DOUBLE_EQ(meter.recent(at(500))[1]->total, 4);
  const auto later = meter.recent(at(1'000'000'050));
  ASSERT_EQ(later.size(), 2u);
  EXPECT_DOUBLE_EQ(later[1]->total, 0);
  EXPECT_EQ(meter.period_end(), at(1'000'000'100));
}

TEST(InvocationMeter, APeriodThatCouldNotBeCountedIsMissing) {
  InvocationMeter meter(kStart, milliseconds(100), 3);
  meter.add(at(10), 1, 1);
  meter.miss(at(20));
  meter.add(at(30), 1, 1);
  meter.add(at(110), 1, 1);
  const auto recent = meter.recent(at(200));
  EXPECT_FALSE(recent[0].has_value());
  EXPECT_TRUE(recent[1].has_value());
}

}  // namespace
}  // namespace musher

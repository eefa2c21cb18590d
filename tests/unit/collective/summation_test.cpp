#include "trainer/collective/summation.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace musher {
namespace {

TEST(Summation, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = from_float16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_float16(to_float16(value))));
    } else {
      ASSERT_EQ(to_float16(value), half);
    }
    const float wide = from_bfloat16(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(from_bfloat16(to_bfloat16(wide))));
    } else {
      ASSERT_EQ(to_bfloat16(wide), half);
    }
  }
}

TEST(Summation, HalfValuesAreThoseOfIeee754) {
  EXPECT_EQ(from_float16(0x3c00), 1.0f);
  EXPECT_EQ(from_float16(0xc000), -2.0f);
  EXPECT_EQ(from_float16(0x7bff), 65504.0f);
  EXPECT_EQ(from_float16(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(from_float16(0x03ff), std::ldexp(1023.0f, -24));
  EXPECT_EQ(from_float16(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(from_bfloat16(0x3f80), 1.0f);
}

TEST(Summation, RoundingIsToNearestEvenAndOverflowsToInfinity) {
  EXPECT_EQ(to_float16(1.0f + std::ldexp(1.0f, -11)), 0x3c00);  // a tie goes to the even neighbour
  EXPECT_EQ(to_float16(1.0f + 3 * std::ldexp(1.0f, -11)), 0x3c02);  // and so does this one
  EXPECT_EQ(to_float16(1.0f + 1.01f * std::ldexp(1.0f, -11)), 0x3c01);
  EXPECT_EQ(to_float16(std::ldexp(1.5f, -24)), 0x0002);  // subnormal tie
  EXPECT_EQ(to_float16(65519.0f), 0x7bff);
  EXPECT_EQ(to_float16(65520.0f), 0x7c00);
  EXPECT_EQ(to_float16(-1e10f), 0xfc00);
  EXPECT_EQ(to_bfloat16(1.0f + std::ldexp(1.0f, -8)), 0x3f80);
  EXPECT_EQ(to_bfloat16(1.0f + 3 * std::ldexp(1.0f, -8)), 0x3f82);
}

TEST(Summation, TheOrderOfInputsIsTheOrderOfAddition) {
  const float big = 1e8f;
  std::vector<float> a(3000, big), b(3000, -big), c(3000, 1.0f), out(3000);
  const void* const big_first[] = {a.data(), b.data(), c.data()};
  sum_into(DType::kFloat32, out.data(), big_first, out.size());
  EXPECT_EQ(out, std::vector<float>(3000, 1.0f));
  const void* const small_first[] = {a.data(), c.data(), b.data()};
  sum_into(DType::kFloat32, out.data(), small_first, out.size());
  EXPECT_EQ(out, std::vector<float>(3000, 0.0f));
}

TEST(Summation, SixteenBitSumsRoundOnceAtTheEnd) {
  // 256 + 1 + 1 in bf16: rounding after each addition would lose both ones.
  std::uint16_t a = to_bfloat16(256), b = to_bfloat16(1), c = to_bfloat16(1), out = 0;
  const void* const inputs[] = {&a, &b, &c};
  sum_into(DType::kBFloat16, &out, inputs, 1);
  EXPECT_EQ(from_bfloat16(out), 258.0f);
}

TEST(Summation, AnInputMayBeTheOutput) {
  std::vector<std::int64_t> a(2500, 5), b(2500, 7);
  const void* const inputs[] = {b.data(), a.data()};
  sum_into(DType::kInt64, a.data(), inputs, a.size());
  EXPECT_EQ(a, std::vector<std::int64_t>(2500, 12));
}

TEST(Summation, IntegersWrap) {
  std::int64_t a = std::numeric_limits<std::int64_t>::max(), b = 1;
  const void* const inputs[] = {&a, &b};
  sum_into(DType::kInt64, &a, inputs, 1);
  EXPECT_EQ(a, std::numeric_limits<std::int64_t>::min());
}

}  // namespace
}  // namespace musher

#include "trainer/collective/summation.h"

#include <algorithm>
#include <bit>

namespace musher {
namespace {

// Conversions without branches, so that the loops below become vector code on any CPU.
inline float widen_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

inline std::uint16_t narrow_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return static_cast<std::uint16_t>(is_nan ? ((bits >> 16) | 0x40) : rounded);
}

inline float widen_float16(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7fffu;
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  // A subnormal half is mantissa × 2^-24, which float32 holds exactly: built as (2^-14 + that) -
  // 2^-14.
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(
      std::bit_cast<float>(0x38800000u + (magnitude << 13)) - std::bit_cast<float>(0x38800000u));
  const std::uint32_t normal = (magnitude << 13) + 0x38000000u;
  const std::uint32_t special = (magnitude << 13) + 0x70000000u;  // infinity and NaN
  const std::uint32_t bits = magnitude >= 0x7c00  ? special
                             : magnitude >= 0x400 ? normal
                                                  : subnormal;
  return std::bit_cast<float>(bits | sign);
}

inline std::uint16_t narrow_float16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  // Adding 0.5 shifts a subnormal's mantissa to the low bits, and rounds it as the FPU rounds.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - 0x38000000u + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const std::uint32_t special = magnitude > 0x7f800000 ? 0x7e00u : 0x7c00u;
  const std::uint32_t half = magnitude >= 0x47800000   ? special
                             : magnitude >= 0x38800000 ? normal
                                                       : subnormal;
  return static_cast<std::uint16_t>(half | sign);
}

struct BFloat16 {
  using Stored = std::uint16_t;
  using Sum = float;
  static Sum widen(Stored bits) { return widen_bfloat16(bits); }
  static Stored narrow(Sum sum) { return narrow_bfloat16(sum); }
};

struct Float16 {
  using Stored = std::uint16_t;
  using Sum = float;
  static Sum widen(Stored bits) { return widen_float16(bits); }
  static Stored narrow(Sum sum) { return narrow_float16(sum); }
};

template <typename T>
struct Plain {
  using Stored = T;
  using Sum = T;
  static T widen(T value) { return value; }
  static T narrow(T value) { return value; }
};

// A block's sum stays in the first-level cache while the inputs stream past, each read once. It
// also allows `out` to be an input.
template <typename Type>
void sum_blocks(void* out, std::span<const void* const> inputs, std::size_t count) {
  using Stored = typename Type::Stored;
  constexpr std::size_t kBlock = 1024;
  typename Type::Sum sum[kBlock];
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t n = std::min(kBlock, count - begin);
    const Stored* first = static_cast<const Stored*>(inputs[0]) + begin;
    for (std::size_t i = 0; i < n; ++i) sum[i] = Type::widen(first[i]);
    for (const void* input : inputs.subspan(1)) {
      const Stored* next = static_cast<const Stored*>(input) + begin;
      for (std::size_t i = 0; i < n; ++i) sum[i] += Type::widen(next[i]);
    }
    Stored* to = static_cast<Stored*>(out) + begin;
    for (std::size_t i = 0; i < n; ++i) to[i] = Type::narrow(sum[i]);
  }
}

}  // namespace

void sum_into(DType dtype, void* out, std::span<const void* const> inputs, std::size_t count) {
  switch (dtype) {
    case DType::kFloat32:
      return sum_blocks<Plain<float>>(out, inputs, count);
    case DType::kFloat64:
      return sum_blocks<Plain<double>>(out, inputs, count);
    case DType::kBFloat16:
      return sum_blocks<BFloat16>(out, inputs, count);
    case DType::kFloat16:
      return sum_blocks<Float16>(out, inputs, count);
    case DType::kInt64:  // unsigned, so that wrapping is defined
      return sum_blocks<Plain<std::uint64_t>>(out, inputs, count);
    case DType::kUInt8:
      return sum_blocks<Plain<std::uint8_t>>(out, inputs, count);
  }
}

float from_bfloat16(std::uint16_t bits) {
  return widen_bfloat16(bits);
}
std::uint16_t to_bfloat16(float value) {
  return narrow_bfloat16(value);
}
float from_float16(std::uint16_t bits) {
  return widen_float16(bits);
}
std::uint16_t to_float16(float value) {
  return narrow_float16(value);
}

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "trainer/collective/collective.h"

namespace musher {

/// out[i] = inputs[0][i] + inputs[1][i] + … in that order, for `count` elements, on the calling
/// thread. bf16 and fp16 are summed in float32 and rounded once, to nearest even; integers wrap.
/// `out` may be one of the inputs. REQUIRES: inputs is not empty.
void sum_into(DType dtype, void* out, std::span<const void* const> inputs, std::size_t count);

float from_bfloat16(std::uint16_t bits);
std::uint16_t to_bfloat16(float value);
float from_float16(std::uint16_t bits);
std::uint16_t to_float16(float value);

}  // namespace musher

#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace musher {

/// A run of elements of a flat buffer.
struct FlatRange {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

/// The Euclidean norm of each range of `flat`, a contiguous float32 buffer: float64 [ranges], on
/// its device. On a CPU the order of summation, in double precision, is that of the range alone and
/// not of the number of threads: ranks on unlike hosts must take the same step, to the bit.
at::Tensor norms(const at::Tensor& flat, const std::vector<FlatRange>& ranges);

}  // namespace musher

#include "trainer/norms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

namespace musher {
namespace {

constexpr std::int64_t kBlock = 8192;
constexpr std::size_t kLanes = 8;  // sums that go on beside each other, for vector units

double sum_of_squares(const float* values, std::int64_t count) {
  std::array<double, kLanes> lanes{};
  std::int64_t i = 0;
  for (; i + static_cast<std::int64_t>(kLanes) <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + static_cast<std::int64_t>(lane)];
      lanes[lane] += value * value;
    }
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) {
    const double value = values[i];
    lanes[lane] += value * value;
  }
  return std::accumulate(lanes.begin(), lanes.end(), 0.0);
}

double norm_on_cpu(const float* values, std::int64_t count) {
  std::vector<double> blocks(static_cast<std::size_t>((count + kBlock - 1) / kBlock));
  at::parallel_for(0, static_cast<std::int64_t>(blocks.size()), 8,
                   [&](std::int64_t first, std::int64_t last) {
                     for (std::int64_t block = first; block < last; ++block) {
                       const std::int64_t begin = block * kBlock;
                       blocks[static_cast<std::size_t>(block)] =
                           sum_of_squares(values + begin, std::min(kBlock, count - begin));
                     }
                   });
  return std::sqrt(std::accumulate(blocks.begin(), blocks.end(), 0.0));
}

}  // namespace

at::Tensor norms(const at::Tensor& flat, const std::vector<FlatRange>& ranges) {
  if (!flat.is_cpu()) {
    std::vector<at::Tensor> views;
    for (const FlatRange& range : ranges) views.push_back(flat.narrow(0, range.begin, range.count));
    return at::stack(at::_foreach_norm(views)).to(at::kDouble);
  }
  at::Tensor result = at::empty({static_cast<std::int64_t>(ranges.size())}, at::kDouble);
  auto* out = result.data_ptr<double>();
  const auto* values = flat.const_data_ptr<float>();
  for (const FlatRange& range : ranges) *out++ = norm_on_cpu(values + range.begin, range.count);
  return result;
}

}  // namespace musher

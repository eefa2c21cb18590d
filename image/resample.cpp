#include "image/resample.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace musher {
namespace {

/// The weights of one pixel of the result before all are brought to the same number of taps.
struct Taps {
  int first = 0;  ///< source pixel
  int count = 0;  ///< 0: the pixel lies outside and is zero
};

/// The triangle filter around `center` over the source pixels of [low, high); writes weights that
/// sum to 1.
Taps triangle(double center, double width, int low, int high, float* weights) {
  const int first = std::max(low, static_cast<int>(std::floor(center - width + 0.5)));
  const int last = std::min(high, static_cast<int>(std::floor(center + width + 0.5)));
  const auto weight = [&](int i) {
    return std::max(0.0, 1.0 - std::abs(i + 0.5 - center) / width);
  };
  double sum = 0;
  for (int i = first; i < last; ++i) sum += weight(i);
  int count = 0;
  for (int i = first; i < last; ++i) {
    weights[i - first] = static_cast<float>(weight(i) / sum);
    if (weights[i - first] > 0) count = i - first + 1;
  }
  return {first, count};
}

/// row[0 .. count) = weight * source, or += where `add`.
void accumulate(const std::uint8_t* __restrict source, float weight, bool add,
                float* __restrict row, int count) {
  if (add) {
    for (int i = 0; i < count; ++i) row[i] += weight * static_cast<float>(source[i]);
  } else {
    for (int i = 0; i < count; ++i) row[i] = weight * static_cast<float>(source[i]);
  }
}

constexpr std::size_t kPadding = 1;

/// Four floats that are added and multiplied at once; the compiler's own type, on any processor.
typedef float Four __attribute__((vector_size(16)));

/// One row of the result, all channels, from a row that is already resampled in height and has
/// kPadding floats more at its end: a pixel of three channels is read as four floats.
template <int kChannels>
void write_row(const float* row, const Axis& x, std::span<const float> scale,
               std::span<const float> offset, std::size_t plane, float* out) {
  const float* weight = x.weights.data();
  for (std::size_t j = 0; j < x.start.size(); ++j, weight += x.taps) {
    const float* from = row + static_cast<std::ptrdiff_t>(x.start[j] - x.first) * kChannels;
    Four sum = {};
    for (int tap = 0; tap < x.taps; ++tap, from += kChannels) {
      Four pixel = {};
      std::memcpy(&pixel, from, kChannels == 1 ? sizeof(float) : sizeof pixel);
      sum += weight[tap] * pixel;
    }
    for (int c = 0; c < kChannels; ++c) out[c * plane + j] = sum[c] * scale[c] + offset[c];
  }
}

}  // namespace

Axis make_axis(const AxisMap& map) {
  const double step = (map.end - map.begin) / map.resized;
  const double width = std::max(1.0, step);
  const int low = std::max(0, static_cast<int>(std::floor(map.begin)));
  const int high = std::min(map.source, static_cast<int>(std::ceil(map.end)));
  const int most = static_cast<int>(std::ceil(2 * width)) + 1;
  const auto size = static_cast<std::size_t>(map.size);

  std::vector<float> loose(size * static_cast<std::size_t>(most));
  std::vector<Taps> taps(size);
  Axis axis;
  axis.first = high;
  axis.last = low;
  for (int i = 0; i < map.size; ++i) {
    const int from = (map.mirrored ? map.size - 1 - i : i) + map.shift;
    if (from < 0 || from >= map.size) continue;
    const double center = map.begin + (map.window + from + 0.5) * step;
    Taps& mine = taps[static_cast<std::size_t>(i)];
    mine = triangle(center, width, low, high, loose.data() + static_cast<std::ptrdiff_t>(i) * most);
    axis.taps = std::max(axis.taps, mine.count);
    axis.first = std::min(axis.first, mine.first);
    axis.last = std::max(axis.last, mine.first + mine.count);
  }

  // The same number of taps for each, moved left where they would reach past the last source pixel.
  axis.start.assign(size, axis.first);
  axis.weights.assign(size * static_cast<std::size_t>(axis.taps), 0.0f);
  for (std::size_t i = 0; i < size; ++i) {
    if (taps[i].count == 0) continue;
    axis.start[i] = std::min(taps[i].first, axis.last - axis.taps);
    std::copy_n(loose.data() + i * static_cast<std::size_t>(most), taps[i].count,
                axis.weights.data() + i * static_cast<std::size_t>(axis.taps) +
                    (taps[i].first - axis.start[i]));
  }
  return axis;
}

void resample(const Pixels& pixels, const Axis& x, const Axis& y, std::span<const float> scale,
              std::span<const float> offset, float* out) {
  const std::size_t size = y.start.size();
  const std::size_t plane = size * size;
  const int count = (x.last - x.first) * pixels.channels;
  const std::ptrdiff_t skipped =
      static_cast<std::ptrdiff_t>(x.first - pixels.left) * pixels.channels;
  std::vector<float> row(static_cast<std::size_t>(count) + kPadding);
  for (std::size_t i = 0; i < size; ++i) {
    const float* weights = y.weights.data() + i * static_cast<std::size_t>(y.taps);
    bool add = false;
    for (int tap = 0; tap < y.taps; ++tap) {
      if (weights[tap] == 0) continue;
      accumulate(pixels.row(y.start[i] + tap - pixels.top) + skipped, weights[tap], add, row.data(),
                 count);
      add = true;
    }
    if (!add) std::fill(row.begin(), row.end(), 0.0f);
    if (pixels.channels == 1) {
      write_row<1>(row.data(), x, scale, offset, plane, out + i * size);
    } else {
      write_row<3>(row.data(), x, scale, offset, plane, out + i * size);
    }
  }
}

}  // namespace musher

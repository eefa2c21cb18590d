#include "trainer/input/mixing.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace musher {
namespace {

/// In (0, 1].
double above_zero(Random& random) {
  return 1.0 - random.uniform();
}

double normal_sample(Random& random) {
  const double radius = std::sqrt(-2 * std::log(above_zero(random)));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

/// The logarithm of a draw from Gamma(alpha, 1), which for a small alpha is too near to zero for a
/// double: Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
double log_gamma_sample(double alpha, Random& random) {
  if (alpha < 1) {
    return log_gamma_sample(alpha + 1, random) + std::log(above_zero(random)) / alpha;
  }
  const double d = alpha - 1.0 / 3.0;
  const double c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = normal_sample(random);
    const double root = 1 + c * x;
    const double u = above_zero(random);
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(u) < 0.5 * x * x + d * (1 - v + std::log(v))) return std::log(d * v);
  }
}

/// A sample's own pixels where `how` says so, and those of `other`.
void mix_pixels(float* own, const float* other, const Batch& batch, std::size_t size,
                const Mix& how) {
  if (!how.box) {
    const auto share = static_cast<float>(how.share);
    const auto rest = static_cast<float>(1.0 - how.share);
    for (std::size_t i = 0; i < size; ++i) own[i] = other[i] * rest + own[i] * share;
    return;
  }
  const auto width = static_cast<std::size_t>(batch.input_shape.back());
  const auto height = static_cast<std::size_t>(batch.input_shape[batch.input_shape.size() - 2]);
  const auto left = static_cast<std::size_t>(how.box->left);
  const auto count = static_cast<std::size_t>(how.box->right) - left;
  for (std::size_t plane = 0; plane < size; plane += width * height) {
    for (int y = how.box->top; y < how.box->bottom; ++y) {
      const std::size_t at = plane + static_cast<std::size_t>(y) * width + left;
      std::copy_n(other + at, count, own + at);
    }
  }
}

}  // namespace

double beta_sample(double alpha, Random& random) {
  const double a = log_gamma_sample(alpha, random);
  const double b = log_gamma_sample(alpha, random);
  return 1 / (1 + std::exp(b - a));
}

Mix choose_mix(const MixOptions& options, int height, int width, Random& random) {
  const bool either = options.mixup_alpha > 0 && options.cutmix_alpha > 0;
  const bool cut = either ? random.below(2) == 1 : options.cutmix_alpha > 0;
  Mix result;
  result.share = beta_sample(cut ? options.cutmix_alpha : options.mixup_alpha, random);
  if (!cut) return result;
  const int x = static_cast<int>(random.below(static_cast<std::uint64_t>(width)));
  const int y = static_cast<int>(random.below(static_cast<std::uint64_t>(height)));
  const double half = 0.5 * std::sqrt(1 - result.share);
  const int half_width = static_cast<int>(half * width);
  const int half_height = static_cast<int>(half * height);
  const Rectangle box = {.left = std::max(0, x - half_width),
                         .top = std::max(0, y - half_height),
                         .right = std::min(width, x + half_width),
                         .bottom = std::min(height, y + half_height)};
  const double area = static_cast<double>(box.right - box.left) * (box.bottom - box.top);
  result.share = 1 - area / (static_cast<double>(width) * height);
  result.box = box;
  return result;
}

void mix(Batch& batch, std::size_t begin, std::size_t end, const Mix& how) {
  if (end - begin < 2) return;
  std::size_t size = 1;
  for (std::int64_t length : batch.input_shape) size *= static_cast<std::size_t>(length);
  const auto sample = [&](std::size_t i) { return batch.inputs.data() + i * size; };

  const std::vector<float> last(sample(end - 1), sample(end - 1) + size);
  for (std::size_t i = end - 1; i > begin; --i) {
    mix_pixels(sample(i), sample(i - 1), batch, size, how);
  }
  mix_pixels(sample(begin), last.data(), batch, size, how);

  if (batch.other_targets.empty()) {
    batch.other_targets = batch.targets;
    batch.target_shares.assign(batch.targets.size(), 1.0f);
  }
  // `targets` is what weighs most, so that accuracy means the same as without mixing.
  const bool own_first = how.share >= 0.5;
  const std::vector<std::int64_t> own(batch.targets.begin() + static_cast<std::ptrdiff_t>(begin),
                                      batch.targets.begin() + static_cast<std::ptrdiff_t>(end));
  for (std::size_t i = 0; i < own.size(); ++i) {
    const std::int64_t other = own[(i + own.size() - 1) % own.size()];
    batch.targets[begin + i] = own_first ? own[i] : other;
    batch.other_targets[begin + i] = own_first ? other : own[i];
    batch.target_shares[begin + i] = static_cast<float>(own_first ? how.share : 1.0 - how.share);
  }
}

}  // namespace musher

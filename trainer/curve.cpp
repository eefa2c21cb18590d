#include "trainer/curve.h"

#include <algorithm>

namespace musher {

Curve::Curve(std::uint64_t asked, std::uint64_t steps)
    : every_(asked == 0 ? 0 : std::max(asked, (steps + kMostPoints - 1) / kMostPoints)) {}

void Curve::begin(const EpochTally& tally, Clock::time_point now) {
  before_ = tally;
  since_ = now;
}

std::optional<CurvePoint> Curve::point(std::uint64_t step, bool epoch_ends, const EpochTally& tally,
                                       Clock::time_point now) {
  if (every_ == 0 || (step % every_ != 0 && !epoch_ends)) return std::nullopt;
  const auto samples = static_cast<double>(tally.digest.samples - before_.digest.samples);
  const double seconds = std::chrono::duration<double>(now - since_).count();
  const CurvePoint point = {(tally.loss_sum - before_.loss_sum) / std::max(samples, 1.0),
                            samples / std::max(seconds, 1e-9)};
  begin(tally, now);
  return point;
}

}  // namespace musher

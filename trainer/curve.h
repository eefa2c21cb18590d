#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "trainer/checkpoint.h"

namespace musher {

/// One point of the training curves: the steps since the point before it.
struct CurvePoint {
  double loss = 0;  ///< mean over their samples
  double samples_per_second = 0;
};

/// When the curves of training have a point, and of what (hyperparameter metrics_every_steps):
/// after each step whose number `every()` divides, and at each epoch's end, never over two epochs.
/// A value; the time comes from outside.
class Curve {
 public:
  using Clock = std::chrono::steady_clock;
  /// Of a job, but for those at the ends of epochs: more tell nobody more, and all are kept.
  static constexpr std::uint64_t kMostPoints = 10'000;

  /// `asked`: steps from one point to the next; 0: no curves within epochs. Of a job of `steps` in
  /// all.
  Curve(std::uint64_t asked, std::uint64_t steps);

  /// As asked, or as many as keep a job within kMostPoints; 0: none.
  std::uint64_t every() const { return every_; }

  /// The next point is of what comes now. `tally`: the present epoch's sums so far. At an epoch's
  /// beginning, and where this process comes into the middle of one.
  void begin(const EpochTally& tally, Clock::time_point now);

  /// After `step` (counted from 1 over the whole job), with the epoch's sums so far.
  std::optional<CurvePoint> point(std::uint64_t step, bool epoch_ends, const EpochTally& tally,
                                  Clock::time_point now);

 private:
  std::uint64_t every_;
  EpochTally before_;
  Clock::time_point since_;
};

}  // namespace musher

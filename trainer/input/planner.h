#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "trainer/input/chunk.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// What one step of this rank is made of, in the order in which it stands in the batch.
struct StepPlan {
  std::uint64_t step = 0;
  std::uint64_t epoch = 0;
  std::vector<PlannedSample> samples;
  /// Of whom they are: parts[i].samples of parts[i].virtual_worker, one after the other.
  struct Part {
    std::uint32_t virtual_worker = 0;
    std::size_t samples = 0;
  };
  std::vector<Part> parts;
};

/// Works out the samples of each step, one step after the other: virtual workers ascending, each
/// giving its next samples in the order that its windows are shuffled to. Asks the source for an
/// epoch's runs when it gets there and for the samples of shards a window at a time, so that it
/// never holds more than a window of each virtual worker. One thread.
class Planner {
 public:
  /// `options` must outlive it.
  Planner(PlanSource source, const PipelineOptions& options);

  std::uint64_t next_step() const { return next_step_; }
  std::uint64_t next_epoch() const { return next_step_ / options_.steps_per_epoch; }

  /// Throws what the source throws; kInvalidArgument for a label outside of the classes; kDataLoss
  /// for a shard that is shorter than the deal says. After an error it is not to be used any more.
  /// REQUIRES: next_step() < end_step.
  StepPlan next();

 private:
  /// Where a virtual worker stands in its slice of the epoch.
  struct Cursor {
    std::uint32_t virtual_worker = 0;
    std::vector<Run> runs;
    std::uint64_t samples = 0;          ///< of the slice
    std::uint64_t window_index = 0;     ///< of `window`, once it is loaded
    std::vector<PlannedSample> window;  ///< in the order of use; empty before the first

    bool has_window(std::uint64_t index) const { return !window.empty() && window_index == index; }
  };

  /// Positions of a slice.
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  void begin_epoch(std::uint64_t epoch);
  void take(Cursor& cursor, Range positions, std::vector<PlannedSample>& out);
  void fetch_shards(std::uint64_t first_position, std::uint64_t last_position);
  void load_window(Cursor& cursor, std::uint64_t window_index, std::uint64_t from);
  void drop_used_shards();
  void check_label(const Sample& sample) const;
  Range window_range(const Cursor& cursor, std::uint64_t window_index) const;

  PlanSource source_;
  const PipelineOptions& options_;
  std::uint64_t next_step_;
  std::uint64_t epoch_ = 0;
  bool in_epoch_ = false;
  std::uint64_t last_position_ =
      0;  ///< no virtual worker gives a sample from here on: end_step, or the end of the epoch
  std::vector<Cursor> cursors_;
  std::map<std::uint32_t, std::vector<Sample>> shards_;  ///< that windows to come may need
};

}  // namespace musher

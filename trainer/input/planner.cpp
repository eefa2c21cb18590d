#include "trainer/input/planner.h"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

/// Calls `use(run, first sample within the shard, count)` for what of `runs`, laid end to end,
/// falls in [begin, end).
template <typename F>
void for_each_part(std::span<const Run> runs, std::uint64_t begin, std::uint64_t end, F use) {
  std::uint64_t at = 0;
  for (const Run& run : runs) {
    const std::uint64_t from = std::max(begin, at);
    const std::uint64_t to = std::min(end, at + run.count);
    if (from < to) use(run, run.first + (from - at), to - from);
    at += run.count;
  }
}

}  // namespace

Planner::Planner(PlanSource source, const PipelineOptions& options)
    : source_(std::move(source)), options_(options), next_step_(options.first_step) {}

StepPlan Planner::next() {
  if (!in_epoch_ || next_epoch() != epoch_) begin_epoch(next_epoch());
  StepPlan plan;
  plan.step = next_step_;
  plan.epoch = epoch_;
  const std::uint64_t per_step = options_.samples_per_virtual_worker;
  const std::uint64_t first = next_step_ % options_.steps_per_epoch * per_step;
  fetch_shards(first, first + per_step);
  for (Cursor& cursor : cursors_) {
    const std::size_t before = plan.samples.size();
    take(cursor, {std::min(first, cursor.samples), std::min(first + per_step, cursor.samples)},
         plan.samples);
    plan.parts.push_back({cursor.virtual_worker, plan.samples.size() - before});
  }
  drop_used_shards();
  ++next_step_;
  return plan;
}

void Planner::begin_epoch(std::uint64_t epoch) {
  epoch_ = epoch;
  in_epoch_ = true;
  shards_.clear();
  cursors_.clear();
  for (VirtualWorkerRuns& assigned : source_.runs(epoch)) {
    Cursor cursor;
    cursor.virtual_worker = assigned.virtual_worker;
    cursor.runs = std::move(assigned.runs);
    for (const Run& run : cursor.runs) cursor.samples += run.count;
    cursors_.push_back(std::move(cursor));
  }
  const std::uint64_t epoch_begin = epoch * options_.steps_per_epoch;
  const std::uint64_t steps = std::min(options_.steps_per_epoch, options_.end_step - epoch_begin);
  last_position_ = steps * options_.samples_per_virtual_worker;
}

Planner::Range Planner::window_range(const Cursor& cursor, std::uint64_t window_index) const {
  const std::uint64_t window = options_.deal.window;
  return {std::min(cursor.samples, window_index * window),
          std::min(cursor.samples, (window_index + 1) * window)};
}

/// Asks for all shards at once that the windows need which begin in these positions.
void Planner::fetch_shards(std::uint64_t first_position, std::uint64_t last_position) {
  std::set<std::uint32_t> missing;
  for (const Cursor& cursor : cursors_) {
    const std::uint64_t last = std::min(last_position, cursor.samples);
    for (std::uint64_t p = first_position; p < last;) {
      const std::uint64_t index = p / options_.deal.window;
      const Range range = window_range(cursor, index);
      p = range.end;
      if (cursor.has_window(index)) continue;
      for_each_part(cursor.runs, range.begin, range.end,
                    [&](const Run& run, std::uint64_t, std::uint64_t) {
                      if (!shards_.contains(run.shard)) missing.insert(run.shard);
                    });
    }
  }
  if (missing.empty()) return;
  const std::vector<std::uint32_t> wanted(missing.begin(), missing.end());
  std::vector<std::vector<Sample>> got = source_.shards(wanted);
  if (got.size() != wanted.size()) {
    throw Error(ErrorCode::kInternal, fmt::format("asked for {} shards of the manifest, got {}",
                                                  wanted.size(), got.size()));
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) shards_[wanted[i]] = std::move(got[i]);
}

void Planner::take(Cursor& cursor, Range positions, std::vector<PlannedSample>& out) {
  for (std::uint64_t p = positions.begin; p < positions.end; ++p) {
    const std::uint64_t index = p / options_.deal.window;
    if (!cursor.has_window(index)) load_window(cursor, index, p);
    PlannedSample& planned = cursor.window[p % options_.deal.window];
    check_label(planned.sample);
    out.push_back(std::move(planned));
  }
}

/// Only what this run of the job will use is planned to be read: positions from `from` up to
/// last_position_.
void Planner::load_window(Cursor& cursor, std::uint64_t window_index, std::uint64_t from) {
  const Range range = window_range(cursor, window_index);
  std::vector<const Sample*> samples;
  for_each_part(
      cursor.runs, range.begin, range.end,
      [&](const Run& run, std::uint64_t first, std::uint64_t count) {
        const std::vector<Sample>& shard = shards_.at(run.shard);
        if (first + count > shard.size()) {
          throw Error(ErrorCode::kDataLoss,
                      fmt::format("shard {} of the manifest has {} samples, the deal counts on {}",
                                  run.shard, shard.size(), first + count));
        }
        for (std::uint64_t i = first; i < first + count; ++i) samples.push_back(&shard[i]);
      });

  DealOptions deal = options_.deal;
  deal.epoch = epoch_;
  const auto order = window_order(deal, cursor.virtual_worker, window_index, samples.size());
  cursor.window_index = window_index;
  cursor.window.assign(samples.size(), {});
  std::vector<PlannedSample*> used;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::uint64_t position = range.begin + i;
    if (position < from || position >= last_position_) continue;
    cursor.window[i].sample = *samples[order[i]];
    used.push_back(&cursor.window[i]);
  }
  plan_chunks(used);
}

/// Keeps the shard that each virtual worker's next window begins in, and no other.
void Planner::drop_used_shards() {
  std::set<std::uint32_t> kept;
  for (const Cursor& cursor : cursors_) {
    if (cursor.window.empty()) continue;
    const std::uint64_t next = window_range(cursor, cursor.window_index).end;
    for_each_part(cursor.runs, next, next + 1,
                  [&](const Run& run, std::uint64_t, std::uint64_t) { kept.insert(run.shard); });
  }
  std::erase_if(shards_, [&](const auto& shard) { return !kept.contains(shard.first); });
}

void Planner::check_label(const Sample& sample) const {
  if (sample.label >= 0 && sample.label < options_.classes) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("sample {}: label {} is outside of the {} classes", sample.key,
                          sample.label, options_.classes));
}

}  // namespace musher

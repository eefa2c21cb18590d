#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint.h"
#include "trainer/client/coordinator_client.h"
#include "trainer/collective/collective.h"
#include "trainer/evaluation.h"
#include "trainer/training_step.h"

namespace musher {

/// What the loop works on; all outlive it.
struct LoopParts {
  const Membership& membership;
  TrainingStep& step;
  Pipeline& input;
  Pipeline* validation =
      nullptr;  ///< one pass of `validation_steps` an epoch, from the first unfinished epoch on
  CheckpointWriter* checkpoints = nullptr;
  Collective& collective;
  CoordinatorClient& client;
  const std::atomic<bool>& stop_signal;  ///< SIGTERM came
  c10::Device device = c10::Device(c10::kCPU);
  std::uint64_t steps_per_epoch = 1;
  std::uint64_t validation_steps = 0;
  std::chrono::seconds step_timeout{600};
  std::string checkpoint_writers;  ///< see CheckpointWriter::save
};

struct LoopResult {
  bool stopped = false;  ///< ended before the last step, at a step boundary, checkpoint written
                         ///< where there is a place for it
  TrainingState state;
  std::vector<MetricPoint> final_metrics;  ///< of the last whole epoch
};

/// Trains from `state` to the last step, or to a stop that some rank asked for: all ranks leave
/// after the same step. Every epoch ends with its digest checked, a validation pass, metrics and a
/// checkpoint.
LoopResult train(const LoopParts& parts, TrainingState state);

}  // namespace musher

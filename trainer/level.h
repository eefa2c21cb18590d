#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/deadline.h"
#include "model/model.h"
#include "trainer/agreement.h"
#include "trainer/checkpoint.h"
#include "trainer/collective/collective.h"
#include "trainer/training_step.h"

namespace musher {

/// Brings every rank to the state of the agreement's source: its tensors, position and
/// sums; a newcomer gets the source's buffers too, while others keep their own, as batch-norm's
/// statistics are, unless these are over all ranks. Collective. What is received is put aside until
/// all of it is there, so that a failure in the middle leaves each rank with a state that is whole.
void level(Collective& collective, const Agreement& agreement, const Standpoint& mine,
           TrainingStep& step, TrainingState& state, Deadline deadline);

/// The model's buffers as they were, for a step that has to be run again: its forward pass has
/// moved batch-norm's statistics.
class BufferSnapshot {
 public:
  explicit BufferSnapshot(Model& model);
  void take();
  void restore();

 private:
  NamedTensors buffers_;
  std::vector<at::Tensor> saved_;
};

}  // namespace musher

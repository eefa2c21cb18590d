#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "common/deadline.h"
#include "model/model.h"
#include "trainer/activity.h"
#include "trainer/collective/collective.h"
#include "trainer/input/pipeline.h"
#include "trainer/task.h"

namespace musher {

/// Goes through `steps` batches of the validation channel and sums over ranks. The model is in
/// evaluation mode meanwhile.
Totals evaluate(Model& model, const Task& task, Pipeline& pipeline, std::uint64_t steps,
                Collective& collective, c10::Device device, ActivityClock& activity,
                Deadline deadline);

/// While it lives the model's floating-point buffers (batch-norm's running statistics) are the mean
/// over ranks, weighted by the samples each has trained on; afterwards each rank has its own again,
/// so that evaluating changes nothing in training.
class AveragedBuffers {
 public:
  AveragedBuffers(Model& model, std::uint64_t samples_trained, Collective& collective,
                  Deadline deadline);
  ~AveragedBuffers();
  AveragedBuffers(const AveragedBuffers&) = delete;
  AveragedBuffers& operator=(const AveragedBuffers&) = delete;

 private:
  NamedTensors buffers_;
  std::vector<at::Tensor> own_;
};

}  // namespace musher

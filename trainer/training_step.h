#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <c10/core/Device.h>

#include "common/deadline.h"
#include "job/job.h"
#include "model/model.h"
#include "trainer/activity.h"
#include "trainer/collective/collective.h"
#include "trainer/fault.h"
#include "trainer/feature_cache.h"
#include "trainer/flat_parameters.h"
#include "trainer/gradient_reducer.h"
#include "trainer/optimizer.h"
#include "trainer/state_tensors.h"
#include "trainer/step_vector.h"
#include "trainer/task.h"
#include "trainer/weight_average.h"

namespace musher {

/// Where the time of steps went, in seconds, summed.
struct StepTimes {
  double forward = 0;
  double backward = 0;  ///< with what of the all-reduce it hides
  double reduce = 0;    ///< all-reduce that backward did not hide
  double optimizer = 0;
};

/// One rank's model with all that a step needs: flat buffers, reducer, optimizer, average. Holds no
/// position in the data. Not thread-safe.
class TrainingStep {
 public:
  struct Options {
    c10::Device device = c10::Device(c10::kCPU);
    std::int64_t bucket_bytes = 4 << 20;
    at::Tensor gradient_memory;         ///< see FlatParameters; undefined: of its own
    ActivityClock* activity = nullptr;  ///< told while it waits for the other ranks
    Faults faults;                      ///< of tests
  };

  /// `model` and `task` must outlive it. The model is moved to the device.
  TrainingStep(Model& model, const Task& task, const Hyperparameters& hyperparameters,
               Options options);
  ~TrainingStep();
  TrainingStep(const TrainingStep&) = delete;
  TrainingStep& operator=(const TrainingStep&) = delete;

  /// Forward, backward, all-reduce and optimizer step over the global batch of which `batch` is
  /// this rank's part; it may be empty. `mine` carries this rank's digest and votes. Returns the
  /// vector summed over ranks; when it returns the step is committed, though with fp16 it may be
  /// one that was skipped, on all ranks, since its gradient overflowed. Throws PeerFailure before
  /// anything of the model has changed but batch-norm's running statistics. kDataLoss-free: a loss,
  /// or with clip_grad_norm a gradient, that is not finite is Error(kFailedPrecondition), seen by
  /// all ranks alike.
  StepVector run(const Batch& batch, const StepVector& mine, const StepRates& rates,
                 Collective& collective, Deadline deadline);

  Model& model() { return model_; }
  FlatParameters& parameters() { return parameters_; }
  Optimizer& optimizer() { return optimizer_; }
  /// Of the weights; null without ema_decay.
  WeightAverage* average() { return average_ ? &*average_ : nullptr; }
  StateTensors tensors() { return state_tensors(parameters_, optimizer_, model_, average()); }
  const StepTimes& times() const { return times_; }
  /// Whether batch-norm's statistics are over all ranks, and so the same on each.
  bool synchronized() const { return synchronized_; }

 private:
  void sum_over_ranks(at::Tensor statistics);
  void forward_backward(const Batch& batch, std::int64_t passes);
  at::Tensor outputs_of(const Batch& batch, std::int64_t begin, const at::Tensor& inputs);
  void pass(const Batch& batch, std::int64_t begin, const Examples& examples);
  double loss_factor() const;
  void update(std::uint64_t step, const StepRates& rates);
  bool unscale_gradients(std::uint64_t step);
  at::Tensor divisor(std::uint64_t step) const;

  Model& model_;
  const Task& task_;
  Options options_;
  std::uint64_t seed_;
  std::int64_t gradient_accumulation_;
  double clip_grad_norm_;
  bool synchronized_;  ///< batch-norm, over ranks
  bool channels_last_;
  std::optional<at::ScalarType> reduced_precision_;  ///< nullopt: float32
  double batch_size_;
  std::int64_t loss_scale_growth_interval_;
  FlatParameters parameters_;
  GradientReducer reducer_;
  Optimizer optimizer_;
  std::optional<WeightAverage> average_;
  std::optional<FeatureCache> cache_;  ///< of a frozen backbone
  at::Tensor statistics_;              ///< float64, of batch-norm, on their way
  Collective* collective_ = nullptr;   ///< of the step under way, as the next three
  Deadline deadline_ = Deadline::after({});
  std::uint64_t step_ = 0;  ///< counted from 1
  bool in_backward_ = false;
  StepTimes times_;
};

}  // namespace musher

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "job/job.h"
#include "trainer/flat_parameters.h"
#include "trainer/loss_scale.h"
#include "trainer/norms.h"
#include "trainer/schedule.h"

namespace musher {

/// What an optimizer's future depends on beside its tensors: the same on every rank.
struct OptimizerProgress {
  std::int64_t steps = 0;  ///< done, without those that an overflow of fp16 made it skip
  LossScale loss_scale;
};

/// The optimizer over the flat buffers. SGD with momentum or Nesterov's, Adam and AdamW: LibTorch's
/// fused kernel, one pass a step, with torch.optim's numbers. LAMB (You et al., "Large batch
/// optimization for deep learning", arXiv 1904.00962, algorithm 2) and LARS (You et al., "Large
/// batch training of convolutional networks", arXiv 1708.03888, algorithm 1): passes over the flat
/// buffers, and a trust ratio for each parameter by the norms of its slices. Where one of the two
/// norms is zero the ratio is 1.
class Optimizer {
 public:
  /// `parameters` must outlive it. `head_prefix`: see Model; for lr_multipliers, of which a name
  /// that fits nothing is kInvalidArgument.
  Optimizer(const Hyperparameters& hyperparameters, FlatParameters& parameters,
            const std::string& head_prefix = "");

  /// values -= update(gradients / divisor). `divisor`: float32 scalar tensor on the parameters'
  /// device, the number of samples that the gradients are the sum of, over what clipping leaves of
  /// them; the kernel divides as it reads. What is in the gradients afterwards is of no worth.
  void step(const StepRates& rates, const at::Tensor& divisor);

  /// Its state beside the values, for checkpoints: flat tensors of the values' size, in a fixed
  /// order, written to in place.
  std::vector<std::pair<std::string, at::Tensor>> state();
  /// Steps done so far (Adam's bias correction).
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps);
  /// Of fp16; its scale is 0 with other precisions.
  const LossScale& loss_scale() const { return loss_scale_; }
  void set_loss_scale(const LossScale& scale) { loss_scale_ = scale; }
  OptimizerProgress progress() const { return {steps_, loss_scale_}; }
  /// A job whose loss is not scaled, or was not before, keeps its own loss scale.
  void set_progress(const OptimizerProgress& progress);

 private:
  /// Parameters that are treated alike, neighbours in one range.
  struct Group {
    double weight_decay = 0;
    double multiplier = 1;  ///< of the learning rate
    std::vector<FlatRange> ranges;
  };

  Group& group_of(double weight_decay, double multiplier);
  double weight_decay_of(const ParameterSlot& slot) const;
  bool adapts(const ParameterSlot& slot) const;
  void multiply_by_slot(const at::Tensor& updates) const;
  void step_sgd(const Group& group, const StepRates& rates, const at::Tensor& divisor);
  void step_adam(const Group& group, const StepRates& rates, const at::Tensor& divisor);
  void step_lars(const StepRates& rates, const at::Tensor& divisor);
  void step_lamb(const StepRates& rates, const at::Tensor& divisor);

  const Hyperparameters hyper_;
  FlatParameters& parameters_;
  std::vector<Group> groups_;
  std::vector<FlatRange> slots_;
  std::vector<double> multipliers_;  ///< by slot
  at::Tensor momentum_buffer_;
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
  at::Tensor step_count_;  ///< steps_, where the kernels read it
  std::int64_t steps_ = 0;
  LossScale loss_scale_;
};

/// The name by which checkpoints know it.
std::string to_string(OptimizerKind kind);

}  // namespace musher

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "job/job.h"
#include "trainer/input/batch.h"
#include "trainer/step_vector.h"

namespace musher {

/// A batch as the model and the loss want it; the first dimension is the samples.
struct Examples {
  at::Tensor inputs;        ///< what the model is given
  at::Tensor targets;       ///< what its outputs are compared with
  at::Tensor soft_targets;  ///< [samples, classes], where images are mixed: the loss is of these

  std::int64_t samples() const { return inputs.size(0); }
  /// Views of `count` samples from `begin` on.
  Examples narrow(std::int64_t begin, std::int64_t count) const;
};

/// How good a model's outputs are, summed over samples.
struct Judgement {
  at::Tensor loss;                   ///< scalar, with autograd
  std::vector<at::Tensor> measures;  ///< scalars, at most StepVector::kMostMeasures
};

/// Sums over samples and ranks, and what they are to people.
struct Totals {
  std::uint64_t samples = 0;
  double loss_sum = 0;
  Measures measures = {};
};
using NamedValues = std::vector<std::pair<std::string, double>>;

/// What a job learns, for an engine that knows samples and sums alone: all of training, validation,
/// checkpoints and recovery is the same for every task. Immutable; calls from one thread at a time.
class Task {
 public:
  virtual ~Task() = default;

  /// Tensors on `device`; on a CPU they may share the batch's memory.
  virtual Examples examples(const Batch& batch, c10::Device device) const = 0;

  /// `outputs` are the model's for examples.inputs. In training the loss is the one that is
  /// learned by, which may be smoothed or of mixed samples. The measures are the same in number
  /// and order at every call, and have no autograd.
  virtual Judgement judge(const at::Tensor& outputs, const Examples& examples,
                          bool training) const = 0;

  /// Names without `train:`, `loss` first: means over samples and what follows from them. Without
  /// a sample all are 0.
  virtual NamedValues metrics(const Totals& totals) const = 0;
};

/// `names`: of classes, or of a table's columns (Manifest::classes).
std::unique_ptr<Task> make_task(TaskKind kind, const Hyperparameters& hyperparameters,
                                const std::vector<std::string>& names);

/// [samples, classes]: the shares of each sample's two labels. REQUIRES: the batch is mixed.
at::Tensor soft_targets_of(const Batch& batch, std::int64_t classes, c10::Device device);

}  // namespace musher

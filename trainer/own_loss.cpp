#include "trainer/own_loss.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "model/loss_module.h"
#include "trainer/trial_batch.h"

namespace musher {
namespace {

/// What the step times are called, and the rate: of no task, but taken.
const std::vector<std::string>& taken_by_the_engine() {
  static const std::vector<std::string> names = {
      "samples_per_second", "step_seconds",   "data_seconds",     "forward_seconds",
      "backward_seconds",   "reduce_seconds", "optimizer_seconds"};
  return names;
}

class OwnLoss final : public Task {
 public:
  OwnLoss(std::unique_ptr<Task> task, LossModule module, std::size_t measures)
      : task_(std::move(task)), module_(std::move(module)), measures_(measures) {}

  Examples examples(const Batch& batch, c10::Device device) const override {
    return task_->examples(batch, device);
  }

  Judgement judge(const at::Tensor& outputs, const Examples& examples,
                  bool training) const override {
    Judgement judgement;
    {
      const at::NoGradGuard no_grad;
      judgement.measures = task_->judge(outputs, examples, training).measures;
    }
    LossModule::Sums sums = module_(outputs.to(at::kFloat), examples.targets, training);
    judgement.loss = std::move(sums.loss);
    judgement.measures.insert(judgement.measures.end(), sums.metrics.begin(), sums.metrics.end());
    return judgement;
  }

  NamedValues metrics(const Totals& totals) const override {
    NamedValues values = task_->metrics(totals);
    const auto samples = static_cast<double>(std::max<std::uint64_t>(1, totals.samples));
    std::size_t place = measures_;
    for (const std::string& name : module_.metrics())
      values.emplace_back(name, totals.measures[place++] / samples);
    return values;
  }

 private:
  std::unique_ptr<Task> task_;
  mutable LossModule module_;  ///< its forward is none of a constant module's
  std::size_t measures_;       ///< of task_
};

}  // namespace

std::unique_ptr<Task> with_own_loss(std::unique_ptr<Task> task, std::span<const std::byte> file,
                                    const std::string& uri,
                                    const std::vector<std::int64_t>& input_shape,
                                    const std::vector<std::int64_t>& output_shape) {
  const Batch batch = trial_batch(input_shape);
  const Examples examples = task->examples(batch, c10::Device(c10::kCPU));
  std::vector<std::int64_t> shape = {batch.samples()};
  shape.insert(shape.end(), output_shape.begin(), output_shape.end());
  const at::Tensor outputs = at::zeros(shape, at::kFloat);
  const std::size_t measures = task->judge(outputs, examples, /*training=*/false).measures.size();
  std::vector<std::string> taken = taken_by_the_engine();
  for (const auto& [name, value] : task->metrics({})) taken.push_back(name);
  LossModule module(file, uri, outputs, examples.targets, taken,
                    static_cast<std::size_t>(StepVector::kMostMeasures) - measures);
  return std::make_unique<OwnLoss>(std::move(task), std::move(module), measures);
}

}  // namespace musher

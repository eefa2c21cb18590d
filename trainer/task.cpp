#include "trainer/task.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/huber_loss.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/zeros.h>

#include "common/error.h"
#include "dataset/table.h"

namespace musher {
namespace {

/// The batch's samples as one tensor; on a CPU it shares the batch's memory.
at::Tensor samples_of(const Batch& batch, c10::Device device) {
  std::vector<std::int64_t> shape = {batch.samples()};
  shape.insert(shape.end(), batch.input_shape.begin(), batch.input_shape.end());
  // from_blob wants a pointer that may be written through; nothing writes to inputs.
  return at::from_blob(const_cast<float*>(batch.inputs.data()), shape, at::kFloat)
      .to(device);  // NOLINT(*-const-cast)
}

at::Tensor labels_of(const Batch& batch, c10::Device device) {
  return at::from_blob(const_cast<std::int64_t*>(batch.targets.data()), {batch.samples()},
                       at::kLong)  // NOLINT(*-const-cast)
      .to(device);
}

double mean(double sum, const Totals& totals) {
  return sum / static_cast<double>(std::max<std::uint64_t>(1, totals.samples));
}

/// Cross-entropy over classes, and how many of the samples the greatest output is right for.
class ImageClassification final : public Task {
 public:
  ImageClassification(double label_smoothing, std::int64_t classes)
      : label_smoothing_(label_smoothing), classes_(classes) {}

  Examples examples(const Batch& batch, c10::Device device) const override {
    return {samples_of(batch, device), labels_of(batch, device),
            batch.other_targets.empty() ? at::Tensor() : soft_targets_of(batch, classes_, device)};
  }

  Judgement judge(const at::Tensor& outputs, const Examples& examples,
                  bool training) const override {
    const at::Tensor& wanted =
        examples.soft_targets.defined() ? examples.soft_targets : examples.targets;
    Judgement judgement;
    judgement.loss = at::cross_entropy_loss(outputs, wanted, {}, at::Reduction::Sum, -100,
                                            training ? label_smoothing_ : 0.0);
    const at::NoGradGuard no_grad;
    judgement.measures = {outputs.argmax(1).eq(examples.targets).sum()};
    return judgement;
  }

  NamedValues metrics(const Totals& totals) const override {
    return {{"loss", mean(totals.loss_sum, totals)},
            {"accuracy", mean(totals.measures[0], totals)}};
  }

 private:
  double label_smoothing_;
  std::int64_t classes_;
};

/// Some numbers from others. The loss of a sample is the mean over its targets, as PyTorch's
/// losses have it.
class Regression final : public Task {
 public:
  Regression(LossKind loss, double huber_delta, std::int64_t features)
      : loss_(loss), huber_delta_(huber_delta), features_(features) {}

  Examples examples(const Batch& batch, c10::Device device) const override {
    const at::Tensor rows = samples_of(batch, device);
    const std::int64_t targets = rows.size(1) - features_;
    return {rows.narrow(1, 0, features_).contiguous(),
            rows.narrow(1, features_, targets).contiguous(),
            {}};
  }

  Judgement judge(const at::Tensor& outputs, const Examples& examples, bool) const override {
    const at::Tensor& targets = examples.targets;
    const auto width = static_cast<double>(targets.size(1));
    Judgement judgement;
    judgement.loss = loss_sum(outputs, targets) / width;
    const at::NoGradGuard no_grad;
    const at::Tensor error = outputs.to(at::kFloat) - targets;
    judgement.measures = {error.square().sum() / width, error.abs().sum() / width};
    return judgement;
  }

  NamedValues metrics(const Totals& totals) const override {
    return {{"loss", mean(totals.loss_sum, totals)},
            {"rmse", std::sqrt(mean(totals.measures[0], totals))},
            {"mae", mean(totals.measures[1], totals)}};
  }

 private:
  at::Tensor loss_sum(const at::Tensor& outputs, const at::Tensor& targets) const {
    switch (loss_) {
      case LossKind::kL1:
        return at::l1_loss(outputs, targets, at::Reduction::Sum);
      case LossKind::kHuber:
        return at::huber_loss(outputs, targets, at::Reduction::Sum, huber_delta_);
      case LossKind::kMse:
        break;
    }
    return at::mse_loss(outputs, targets, at::Reduction::Sum);
  }

  LossKind loss_;
  double huber_delta_;
  std::int64_t features_;
};

/// The next token from those before it: a sample is a window of them. Its loss is the mean of the
/// cross-entropies of its tokens.
class LanguageModeling final : public Task {
 public:
  Examples examples(const Batch& batch, c10::Device device) const override {
    const at::Tensor windows = samples_of(batch, device).to(at::kLong);
    const std::int64_t context = windows.size(1) - 1;
    return {windows.narrow(1, 0, context), windows.narrow(1, 1, context), {}};
  }

  Judgement judge(const at::Tensor& outputs, const Examples& examples, bool) const override {
    const at::Tensor& targets = examples.targets;
    Judgement judgement;
    judgement.loss =
        at::cross_entropy_loss(outputs.flatten(0, 1), targets.flatten(), {}, at::Reduction::Sum) /
        static_cast<double>(targets.size(1));
    judgement.measures = {judgement.loss.detach()};
    return judgement;
  }

  /// Of the cross-entropy, also where a loss of the user's is learned by.
  NamedValues metrics(const Totals& totals) const override {
    return {{"loss", mean(totals.loss_sum, totals)},
            {"perplexity", std::exp(mean(totals.measures[0], totals))}};
  }
};

}  // namespace

Examples Examples::narrow(std::int64_t begin, std::int64_t count) const {
  return {inputs.narrow(0, begin, count), targets.narrow(0, begin, count),
          soft_targets.defined() ? soft_targets.narrow(0, begin, count) : at::Tensor()};
}

std::unique_ptr<Task> make_task(TaskKind kind, const Hyperparameters& hyperparameters,
                                const std::vector<std::string>& names) {
  const Hyperparameters& h = hyperparameters;
  switch (kind) {
    case TaskKind::kImageClassification:
      return std::make_unique<ImageClassification>(
          h.label_smoothing,
          h.num_classes > 0 ? h.num_classes : static_cast<std::int64_t>(names.size()));
    case TaskKind::kRegression: {
      const auto columns = choose_columns(names, h.feature_columns, h.target_columns);
      return std::make_unique<Regression>(h.loss, h.huber_delta,
                                          static_cast<std::int64_t>(columns.features.size()));
    }
    case TaskKind::kLanguageModeling:
      return std::make_unique<LanguageModeling>();
  }
  throw Error(ErrorCode::kInternal, "a task that is not built in");
}

at::Tensor soft_targets_of(const Batch& batch, std::int64_t classes, c10::Device device) {
  const auto indexes = [&](const std::vector<std::int64_t>& labels) {
    return at::from_blob(const_cast<std::int64_t*>(labels.data()), {batch.samples(), 1},
                         at::kLong);  // NOLINT(*-const-cast)
  };
  const at::Tensor shares =
      at::from_blob(const_cast<float*>(batch.target_shares.data()), {batch.samples(), 1},
                    at::kFloat);  // NOLINT(*-const-cast)
  return at::zeros({batch.samples(), classes}, at::kFloat)
      .scatter_add_(1, indexes(batch.targets), shares)
      .scatter_add_(1, indexes(batch.other_targets), shares.neg().add_(1))
      .to(device);
}

}  // namespace musher

#include <limits>

#include "job/hyperparameter_entry.h"

namespace musher {

using namespace hyperparameter_table;

namespace {

Entry virtual_workers() {
  Entry entry =
      whole<std::int64_t>("virtual_workers", &Hyperparameters::virtual_workers, 1, 1'000'000,
                          "V: the data streams that each epoch is dealt to; divides batch_size, "
                          "and is at least the number of ranks. The "
                          "batches depend on it, so keep it when you resume");
  entry.standard = "the smallest divisor of batch_size from max(8, ranks) on";
  return entry;
}

/// Checked here and kept by the request alone: see job/metric_rate.h.
Entry metrics_every_steps() {
  constexpr std::int64_t kMost = 1'000'000'000;
  const std::string range = fmt::format("0 to {}", kMost);
  return {"metrics_every_steps",
          "whole number",
          range,
          "0",
          "steps from one point of train:loss and train:samples_per_second over time to the next, "
          "each a mean over them; 0: one point an epoch",
          [=](Hyperparameters&, const std::string& text) -> std::string {
            const auto value = number_from<std::int64_t>(text);
            if (value && *value >= 0 && *value <= kMost) return {};
            return fmt::format("must be a whole number from {}, not {}", range, in_quotes(text));
          }};
}

}  // namespace

std::vector<HyperparameterEntry> training_hyperparameters() {
  constexpr std::int64_t kMany = 1'000'000'000;
  return {
      whole<std::int64_t>("epochs", &H::epochs, 1, 100'000,
                          "how often the train channel is gone through"),
      whole<std::int64_t>("batch_size", &H::batch_size, 1, 10'000'000,
                          "B: samples of one optimizer step, over all ranks together"),
      virtual_workers(),
      whole<std::uint64_t>(
          "seed", &H::seed, 0, std::numeric_limits<std::uint64_t>::max(),
          "of every random choice: fresh weights, the order of samples, augmentation"),
      whole<std::int64_t>("gradient_accumulation", &H::gradient_accumulation, 1, 1'000'000,
                          "passes that a rank's part of a batch is split into, to use less "
                          "memory; batch_size stays what it is"),
      choice<Precision>("precision", &H::precision,
                        {{"float32", Precision::kFloat32},
                         {"bf16", Precision::kBFloat16},
                         {"fp16", Precision::kFloat16}},
                        "of forward and backward, as torch.autocast; weights, their sums over "
                        "ranks and the optimizer stay float32"),
      real("loss_scale", &H::loss_scale, {1, 1e9},
           "of fp16: what the loss is multiplied by at first; it then finds its own way"),
      whole<std::int64_t>("loss_scale_growth_interval", &H::loss_scale_growth_interval, 1, kMany,
                          "steps without an overflow after which the loss scale doubles"),
      flag("channels_last", &H::channels_last,
           "training images lie in memory pixel by pixel, which GPUs like in bf16 and fp16"),
      real("ema_decay", &H::ema_decay, {0, 1, false, true},
           "of an exponential moving average of the weights, which is then what is validated and "
           "saved; 0: none"),
      Entry{"early_stopping_metric", "text", "none, or a metric such as validation:loss", "none",
            "the job ends when it has not got better for a while; one that loss_module returns "
            "with the direction that is good, as in \"max validation:f1\"",
            [](H& all, const std::string& text) -> std::string {
              all.early_stopping_metric = text;
              return {};
            }},
      whole<std::int64_t>("early_stopping_patience", &H::early_stopping_patience, 1, 100'000,
                          "epochs without an improvement after which the job ends"),
      whole<std::int64_t>("early_stopping_min_epochs", &H::early_stopping_min_epochs, 1, 100'000,
                          "epochs before which it does not end early"),
      real("early_stopping_tolerance", &H::early_stopping_tolerance, {0, 1, false, true},
           "share of the best so far that an improvement must exceed"),
      real("label_smoothing", &H::label_smoothing, {0, 1, false, true}, "of the cross-entropy"),
      choice<LossKind>(
          "loss", &H::loss,
          {{"mse", LossKind::kMse}, {"l1", LossKind::kL1}, {"huber", LossKind::kHuber}},
          "of regression: mean squared error, mean absolute error, or Huber's"),
      real("huber_delta", &H::huber_delta, {0, 1e9, true},
           "error beyond which huber grows linearly"),
      whole<std::int64_t>("checkpoint_every_steps", &H::checkpoint_every_steps, 0, kMany,
                          "0: on stop, and at the end of each epoch; needs a CheckpointConfig"),
      metrics_every_steps(),
      whole<std::int64_t>("checkpoints_kept", &H::checkpoints_kept, 1, kMany,
                          "how many of the job's checkpoints stay, the newest ones"),
      whole<std::int64_t>("processes_per_instance", &H::processes_per_instance, 1, 1024,
                          "ranks per host: InstanceCount times this many train together"),
      whole<std::int64_t>("heartbeat_timeout_seconds", &H::heartbeat_timeout_seconds, 1, 3600,
                          "a rank that is silent for so long is taken for dead"),
      whole<std::int64_t>("storage_retry_seconds", &H::storage_retry_seconds, 1, 86'400,
                          "a call of the object store that fails is tried again for so long; then "
                          "the job fails"),
  };
}

}  // namespace musher

#include "trainer/inputs.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "dataset/deal.h"
#include "trainer/input/gather.h"

namespace musher {
namespace {

constexpr auto kCallTimeout = std::chrono::minutes(5);

/// What of a channel this rank reads, asked of the coordinator.
PlanSource plan_source(CoordinatorClient& client, const std::string& channel) {
  return {[&client, channel](std::uint64_t epoch) {
            return client.assignment(channel, epoch, Deadline::after(kCallTimeout)).shares;
          },
          [&client, channel](std::vector<std::uint32_t> shards) {
            return client.shards(channel, shards, Deadline::after(kCallTimeout));
          }};
}

PipelineOptions pipeline_options(const Membership& membership, const ChannelSummary& channel,
                                 std::int64_t labels) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  PipelineOptions options;
  options.deal.virtual_workers = static_cast<std::uint32_t>(membership.virtual_worker_rank.size());
  options.deal.seed = hyper.seed;
  options.deal.window = channel.window;
  options.samples_per_virtual_worker =
      static_cast<std::uint64_t>(hyper.batch_size) / options.deal.virtual_workers;
  options.steps_per_epoch = steps_per_epoch(channel.samples, options.deal.virtual_workers,
                                            options.samples_per_virtual_worker);
  options.end_step = options.steps_per_epoch * static_cast<std::uint64_t>(hyper.epochs);
  options.classes = labels;
  options.threads = static_cast<std::size_t>(hyper.data_threads);
  options.prefetch_bytes = static_cast<std::uint64_t>(hyper.prefetch_bytes);
  const StorageConfig& storage = membership.storage;
  options.longest_call = std::max<std::chrono::milliseconds>(
      kCallTimeout, storage.retry_limit + 2 * storage.request_timeout);
  return options;
}

}  // namespace

Inputs::Inputs(const Membership& membership, const SampleFormat& format, CoordinatorClient& client,
               const DataOptions& data, const decltype(PipelineOptions::at_point)& at_point)
    : format_(format),
      client_(client),
      data_(data),
      train_store_(open(membership.train, membership.storage)),
      train_options_(pipeline_options(membership, membership.train, format.labels)) {
  train_options_.at_point = at_point;
  const Hyperparameters& hyper = membership.job.hyperparameters;
  train_options_.mix = {.mixup_alpha = hyper.mixup_alpha, .cutmix_alpha = hyper.cutmix_alpha};
  if (const auto seed = membership.job.train.shuffle_seed) {
    train_options_.deal.seed = static_cast<std::uint64_t>(*seed);
  }
  if (!membership.validation) return;
  validation_store_ = open(*membership.validation, membership.storage);
  validation_options_ = pipeline_options(membership, *membership.validation, format.labels);
  validation_options_.deal.shuffle = false;
}

Inputs::~Inputs() = default;

/// Files are on this host, or on a disk that does not want another beside it.
std::unique_ptr<ObjectStore> Inputs::open(const ChannelSummary& channel,
                                          const StorageConfig& storage) {
  auto store = open_store(Uri::parse(channel.uri), storage);
  if (store->root().scheme != "s3") return store;
  CachedStore* cached = nullptr;
  if (data_.cache) {
    auto made = std::make_unique<CachedStore>(std::move(store), data_.cache);
    cached = made.get();
    store = std::move(made);
  }
  if (std::ranges::find(data_.file_channels, channel.name) != data_.file_channels.end()) {
    to_gather_.push_back({channel.name, channel.shards, channel.bytes, cached});
  }
  return store;
}

void Inputs::gather(const std::atomic<bool>& stop) {
  std::uint64_t bytes = 0;
  for (const ToGather& channel : to_gather_) bytes += channel.bytes;
  const std::uint64_t limit = data_.cache ? data_.cache->limit() : 0;
  if (bytes > limit) {
    if (data_.part == 0) {
      client_.notice(fmt::format(
          "InputMode File: the channels' {} bytes are more than the data cache may take "
          "(--cache-limit {}); they are fetched as training asks for them",
          bytes, limit));
    }
    return;
  }
  for (const ToGather& channel : to_gather_) {
    const auto part = static_cast<std::uint32_t>(data_.part);
    const auto parts = static_cast<std::uint32_t>(std::max(1, data_.parts));
    gather_channel(plan_source(client_, channel.name).shards, channel.shards, {part, parts},
                   *channel.store, stop);
  }
}

void Inputs::retire(std::unique_ptr<Pipeline>& pipeline) {
  std::shared_ptr<Pipeline> old;
  {
    const std::lock_guard lock(mutex_);
    old = std::move(pipeline);
  }
  // Its threads may wait long for an object store.
  if (old) retired_.emplace_back("input-retire", [old = std::move(old)]() mutable { old.reset(); });
}

void Inputs::rebuild(const TrainingState& state) {
  retire(train_);
  retire(validation_);
  train_options_.first_step = std::min(state.step, train_options_.end_step);
  auto train = std::make_unique<Pipeline>(*train_store_, *format_.train,
                                          plan_source(client_, "train"), train_options_);
  std::unique_ptr<Pipeline> validation;
  if (validation_store_) {
    validation_options_.first_step = std::min(
        state.closed_epochs * validation_options_.steps_per_epoch, validation_options_.end_step);
    validation =
        std::make_unique<Pipeline>(*validation_store_, *format_.evaluation,
                                   plan_source(client_, "validation"), validation_options_);
  }
  const std::lock_guard lock(mutex_);
  train_ = std::move(train);
  validation_ = std::move(validation);
}

double Inputs::silent_seconds() const {
  const std::lock_guard lock(mutex_);
  if (!train_) return 0;
  const double train = train_->silent_seconds();
  return validation_ ? std::min(train, validation_->silent_seconds()) : train;
}

}  // namespace musher

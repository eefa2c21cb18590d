#include "trainer/run.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "common/error.h"
#include "dataset/deal.h"
#include "model/artifact.h"
#include "model/weights.h"
#include "storage/object_store.h"
#include "trainer/collective/nccl_loader.h"
#include "trainer/device.h"
#include "trainer/input/image_decoder.h"
#include "trainer/training_loop.h"

namespace musher {
namespace {

constexpr auto kCallTimeout = std::chrono::minutes(5);
constexpr auto kJoinTimeout = std::chrono::minutes(5);

Deadline soon() {
  return Deadline::after(kCallTimeout);
}

std::string host_name() {
  std::string name(256, '\0');
  gethostname(name.data(), name.size() - 1);
  return name.c_str();
}

/// A file of this process that is gone when it goes out of scope.
class TemporaryFile {
 public:
  TemporaryFile() {
    std::string path = (std::filesystem::temp_directory_path() / "musher-XXXXXX").string();
    const int fd = mkstemp(path.data());
    if (fd < 0)
      throw Error(ErrorCode::kResourceExhausted, "no temporary file can be made in " + path);
    close(fd);
    path_ = path;
  }
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// The whole object at `uri`: its folder opened as a store.
std::vector<std::byte> read_uri(const std::string& text, const StorageConfig& storage) {
  const Uri uri = Uri::parse(text);
  const std::size_t slash = uri.path.rfind('/');
  Uri folder = uri;
  folder.path = slash == std::string::npos ? "" : uri.path.substr(0, slash);
  return open_store(folder, storage)
      ->read(slash == std::string::npos ? uri.path : uri.path.substr(slash + 1));
}

std::unique_ptr<Model> build_model(const Membership& membership) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  ModelSpec spec;
  spec.name = hyper.model;
  spec.classes = hyper.num_classes > 0 ? hyper.num_classes
                                       : static_cast<std::int64_t>(membership.classes.size());
  spec.input_shape = {hyper.image_channels, hyper.image_size, hyper.image_size};
  spec.seed = hyper.seed;
  std::unique_ptr<Model> model;
  if (hyper.model.find("://") != std::string::npos) {
    const TemporaryFile file;
    const auto bytes = read_uri(hyper.model, membership.storage);
    std::ofstream(file.path(), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    spec.name = file.path();
    try {
      model = make_model(spec);
    } catch (const Error& error) {
      throw Error(error.code(), hyper.model + ": " + error.what());
    }
  } else {
    model = make_model(spec);
  }
  if (!hyper.initial_weights.empty()) {
    const auto bytes = read_uri(hyper.initial_weights, membership.storage);
    load_weights(*model, from_safetensors(bytes, hyper.initial_weights), hyper.initial_weights);
  }
  return model;
}

/// What of a channel this rank reads, asked of the coordinator.
PlanSource plan_source(CoordinatorClient& client, const std::string& channel) {
  return {[&client, channel](std::uint64_t epoch) {
            return client.assignment(channel, epoch, soon()).shares;
          },
          [&client, channel](std::vector<std::uint32_t> shards) {
            return client.shards(channel, shards, soon());
          }};
}

PipelineOptions pipeline_options(const Membership& membership, const ChannelSummary& channel,
                                 std::uint64_t per_virtual_worker) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  PipelineOptions options;
  options.deal.virtual_workers = static_cast<std::uint32_t>(membership.virtual_worker_rank.size());
  options.deal.seed = hyper.seed;
  options.deal.window = channel.window;
  options.samples_per_virtual_worker = per_virtual_worker;
  options.steps_per_epoch =
      steps_per_epoch(channel.samples, options.deal.virtual_workers, per_virtual_worker);
  options.end_step = options.steps_per_epoch * static_cast<std::uint64_t>(hyper.epochs);
  options.classes = hyper.num_classes > 0 ? hyper.num_classes
                                          : static_cast<std::int64_t>(membership.classes.size());
  options.threads = static_cast<std::size_t>(hyper.data_threads);
  options.prefetch_bytes = static_cast<std::uint64_t>(hyper.prefetch_bytes);
  return options;
}

/// Aborts the collective when the coordinator has given this rank up, so that the training thread
/// does not wait for peers that are told the same.
class Watch {
 public:
  Watch(CoordinatorClient& client, Collective& collective)
      : thread_([this, &client, &collective](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            const Directives directives = client.directives();
            if (directives.stale || !directives.failure.empty()) {
              collective.abort();
              return;
            }
            std::unique_lock lock(mutex_);
            wake_.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
          }
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

/// Ranks whose models or buckets differ would add up nonsense: they compare before the first step.
void check_same_plan(Collective& collective, std::uint64_t fingerprint) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(collective.size()));
  collective.all_gather({&fingerprint, 1, DType::kInt64}, {all.data(), all.size(), DType::kInt64},
                        soon());
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      throw Error(
          ErrorCode::kInternal,
          fmt::format("rank {} has another model or bucket plan than rank 0; are all hosts on "
                      "the same version?",
                      rank));
    }
  }
}

/// Each rank reads the slices by itself and might find another checkpoint damaged.
void check_same_step(Collective& collective, std::uint64_t step) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(collective.size()));
  collective.all_gather({&step, 1, DType::kInt64}, {all.data(), all.size(), DType::kInt64}, soon());
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("rank {} could load the checkpoint of step {}, rank 0 that of step "
                              "{}: the store does not give all ranks the same",
                              rank, all[rank], all[0]));
    }
  }
}

int compute_threads(const TrainerOptions& options, const Membership& membership) {
  if (options.threads > 0) return options.threads;
  return std::max(
      1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, membership.job.ranks));
}

std::string metrics_json(const LoopResult& result) {
  nlohmann::ordered_json json = {{"step", result.state.step}, {"stopped", result.stopped}};
  for (const MetricPoint& point : result.final_metrics) json["metrics"][point.name] = point.value;
  return json.dump(2);
}

std::string preprocessing_json(const Hyperparameters& hyper) {
  const ImageTransform transform = evaluation_transform(hyper);
  const nlohmann::ordered_json json = {{"format", "image"},
                                       {"size", transform.size},
                                       {"channels", transform.channels},
                                       {"mean", transform.mean},
                                       {"std", transform.std}};
  return json.dump(2);
}

void save_artifact(const Membership& membership, Model& model, const LoopResult& result) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  ArtifactContents contents;
  contents.model_name = hyper.model;
  contents.input_shape = {hyper.image_channels, hyper.image_size, hyper.image_size};
  contents.classes = membership.classes;
  contents.preprocessing_json = preprocessing_json(hyper);
  contents.metrics_json = metrics_json(result);
  const auto store = open_store(membership.job.output, membership.storage);
  write_artifact(*store, membership.job.name + "/output/model.tar.gz", model, contents);
}

CheckpointIdentity checkpoint_identity(const Membership& membership, std::uint64_t fingerprint,
                                       const FlatParameters& parameters) {
  const Hyperparameters& hyper = membership.job.hyperparameters;
  CheckpointIdentity identity;
  identity.model = fingerprint;
  identity.data = membership.train.fingerprint;
  identity.parameters = parameters.size();
  identity.batch_size = hyper.batch_size;
  identity.virtual_workers = static_cast<std::int64_t>(membership.virtual_worker_rank.size());
  identity.seed = hyper.seed;
  identity.optimizer = hyper.optimizer == OptimizerKind::kSgd ? "sgd" : "adamw";
  return identity;
}

at::Tensor shared_gradients(Collective& collective, Model& model, c10::Device device) {
  const std::int64_t elements = FlatParameters::gradient_elements(model, StepVector::kElements);
  std::shared_ptr<void> memory =
      collective.allocate(static_cast<std::size_t>(elements) * sizeof(float), soon());
  return at::from_blob(
      memory.get(), {elements}, [memory](void*) {}, at::TensorOptions(at::kFloat).device(device));
}

}  // namespace

Outcome run_rank(const TrainerOptions& options, std::unique_ptr<Collective>& world,
                 CoordinatorClient& client, const std::atomic<bool>& stop_signal) {
  const Membership membership = client.join(host_name(), Deadline::after(kJoinTimeout));
  const Hyperparameters& hyper = membership.job.hyperparameters;
  at::set_num_threads(compute_threads(options, membership));

  const c10::Device device =
      choose_device(options.device, world->rank() % static_cast<int>(hyper.processes_per_instance));
  client.progress({Phase::kLoading, 0, 0, 0, 0, 0, 0});
  const auto model = build_model(membership);
  const std::uint64_t fingerprint = model_fingerprint(*model);
  check_same_plan(*world, fingerprint + static_cast<std::uint64_t>(options.bucket_mib));
  if (device.is_cuda()) {
    world =
        load_nccl_collective(nccl_module(), std::move(world), {.device = device.index()}, soon());
  }
  Collective& collective = *world;
  const Watch watch(client, collective);

  TrainingStep step(
      *model, hyper,
      {device, options.bucket_mib << 20, shared_gradients(collective, *model, device)});
  const CheckpointIdentity identity =
      checkpoint_identity(membership, fingerprint, step.parameters());

  TrainingState state;
  if (!membership.resume_candidates.empty()) {
    const LoadedCheckpoint loaded = load_newest_checkpoint(
        membership.resume_candidates, membership.storage, identity,
        {collective.rank(), collective.size()}, step.parameters(), step.optimizer(), *model);
    state = loaded.state;
    check_same_step(collective, state.step);
    if (collective.rank() == 0) {
      for (const std::string& text : loaded.notices) client.notice(text);
      client.notice(fmt::format("resumed at step {} from {}", state.step, loaded.uri));
    }
  }

  const auto per_virtual_worker = static_cast<std::uint64_t>(hyper.batch_size) /
                                  static_cast<std::uint64_t>(membership.virtual_worker_rank.size());
  const auto train_store = open_store(membership.job.train.uri, membership.storage);
  const auto train_decoder = make_image_decoder(train_transform(hyper));
  PipelineOptions input_options =
      pipeline_options(membership, membership.train, per_virtual_worker);
  input_options.deal.seed = static_cast<std::uint64_t>(
      membership.job.train.shuffle_seed.value_or(static_cast<std::int64_t>(hyper.seed)));
  input_options.first_step = std::min(state.step, input_options.end_step);
  Pipeline input(*train_store, *train_decoder, plan_source(client, "train"), input_options);

  std::unique_ptr<ObjectStore> validation_store;
  std::unique_ptr<SampleDecoder> validation_decoder;
  std::unique_ptr<Pipeline> validation;
  PipelineOptions validation_options;
  if (membership.validation) {
    validation_options = pipeline_options(membership, *membership.validation, per_virtual_worker);
    validation_options.deal.shuffle = false;
    validation_options.first_step =
        state.step / input_options.steps_per_epoch * validation_options.steps_per_epoch;
    validation_store = open_store(membership.job.validation->uri, membership.storage);
    validation_decoder = make_image_decoder(evaluation_transform(hyper));
    validation = std::make_unique<Pipeline>(*validation_store, *validation_decoder,
                                            plan_source(client, "validation"), validation_options);
  }

  std::unique_ptr<ObjectStore> checkpoint_store;
  std::unique_ptr<CheckpointWriter> checkpoints;
  if (membership.job.checkpoints) {
    checkpoint_store = open_store(*membership.job.checkpoints, membership.storage);
    checkpoints = std::make_unique<CheckpointWriter>(
        *checkpoint_store, identity,
        CheckpointWriter::Listener{
            [&client](const SliceWritten& slice) { client.slice_written(slice, soon()); },
            [&client](const std::string& text) { client.notice(text); }});
  }

  const LoopResult result =
      train({membership, step, input, validation.get(), checkpoints.get(), collective, client,
             stop_signal, device, input_options.steps_per_epoch, validation_options.steps_per_epoch,
             std::chrono::seconds(options.step_timeout_seconds),
             fmt::format("{}.{}.{}", membership.job.name, options.attempt, membership.generation)},
            state);

  // The coordinator compares the last epoch's digest before anything is published.
  client.flush(soon());
  if (const std::string failure = client.directives().failure; !failure.empty()) {
    throw Error(ErrorCode::kFailedPrecondition, failure);
  }
  client.progress({Phase::kUploading, result.state.step, input_options.end_step, 0, 0, 0, 0});
  std::string artifact;
  {
    const AveragedBuffers averaged(*model, result.state.samples_trained, collective, soon());
    if (collective.rank() == 0) {
      save_artifact(membership, *model, result);
      artifact = membership.job.artifact().str();
    }
  }
  const Outcome outcome = result.stopped ? Outcome::kStopped : Outcome::kCompleted;
  client.finish(outcome, "", artifact, result.final_metrics, soon());
  return outcome;
}

}  // namespace musher

#include "trainer/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"
#include "model/weights.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kSliceTimeout = std::chrono::minutes(5);

struct Range {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

Range slice_range(std::int64_t total, int slice, int slices) {
  const std::int64_t begin = total * slice / slices;
  return {begin, total * (slice + 1) / slices - begin};
}

std::string slice_name(int slice, int slices) {
  return fmt::format("slice-{:05}-of-{:05}.safetensors", slice, slices);
}

/// 64-bit numbers as text, since JSON readers hold them as doubles.
Json digest_json(const Digest& digest) {
  return {{"samples", digest.samples}, {"sum", hex64(digest.sum)}};
}

Digest digest_from(const Json& json) {
  return {json.at("samples").get<std::uint64_t>(),
          std::stoull(json.at("sum").get<std::string>(), nullptr, 16)};
}

Json identity_json(const CheckpointIdentity& identity) {
  return {{"model", hex64(identity.model)},
          {"data", hex64(identity.data)},
          {"parameters", identity.parameters},
          {"batch_size", identity.batch_size},
          {"virtual_workers", identity.virtual_workers},
          {"seed", std::to_string(identity.seed)},
          {"optimizer", identity.optimizer}};
}

std::string header_json(const CheckpointIdentity& identity, const TrainingState& state,
                        int world_size) {
  Json header = {
      {"identity", identity_json(identity)}, {"step", state.step}, {"world_size", world_size}};
  header["tally"] = {{"digest", digest_json(state.tally.digest)},
                     {"undecodable", digest_json(state.tally.undecodable)},
                     {"loss_sum", state.tally.loss_sum},
                     {"correct", state.tally.correct}};
  return header.dump();
}

/// All that differs, in one line.
void check_identity(const Json& theirs, const CheckpointIdentity& mine, const std::string& where) {
  std::string differences;
  const Json ours = identity_json(mine);
  for (const auto& [key, value] : ours.items()) {
    const Json other = theirs.value(key, Json());
    if (other == value) continue;
    differences += fmt::format("{}{} {} where this job has {}", differences.empty() ? "" : ", ",
                               key, other.dump(), value.dump());
  }
  if (!differences.empty()) {
    throw Error(ErrorCode::kFailedPrecondition,
                "checkpoint " + where + " belongs to another training: " + differences +
                    "; name another CheckpointConfig.S3Uri or make the job the same");
  }
}

std::vector<std::pair<std::string, at::Tensor>> flat_state(FlatParameters& parameters,
                                                           Optimizer& optimizer) {
  auto state = optimizer.state();
  state.emplace_back("values", parameters.values());
  return state;
}

}  // namespace

CheckpointWriter::CheckpointWriter(ObjectStore& store, CoordinatorClient& client,
                                   CheckpointIdentity identity, std::string attempt_name, int rank,
                                   int world_size)
    : store_(store),
      client_(client),
      identity_(std::move(identity)),
      attempt_name_(std::move(attempt_name)),
      rank_(rank),
      world_size_(world_size) {}

CheckpointWriter::~CheckpointWriter() {
  wait();
}

void CheckpointWriter::wait() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::save(const TrainingState& state, const FlatParameters& parameters,
                            Optimizer& optimizer, Model& model) {
  wait();
  const at::NoGradGuard no_grad;
  NamedTensors snapshot;
  const Range range = slice_range(parameters.size(), rank_, world_size_);
  const auto copy = [](const at::Tensor& tensor) {
    return tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  };
  snapshot.emplace_back("values", copy(parameters.values().narrow(0, range.begin, range.count)));
  for (auto& [name, tensor] : optimizer.state()) {
    snapshot.emplace_back(name, copy(tensor.narrow(0, range.begin, range.count)));
  }
  for (auto& [name, buffer] : model.buffers())
    snapshot.emplace_back("buffer." + name, copy(buffer));

  busy_ = true;
  thread_ = std::thread([this, state, snapshot = std::move(snapshot)] {
    const std::string folder = fmt::format("step-{:010}.{}", state.step, attempt_name_);
    try {
      write(folder, state.step, header_json(identity_, state, world_size_), snapshot, state);
    } catch (const std::exception& error) {
      client_.notice(
          fmt::format("rank {}: checkpoint of step {} was not written, the one before stays: {}",
                      rank_, state.step, error.what()));
    }
    busy_ = false;
  });
}

void CheckpointWriter::write(const std::string& folder, std::uint64_t step,
                             const std::string& header, const NamedTensors& tensors,
                             const TrainingState& state) {
  const auto bytes =
      to_safetensors(tensors, {{"samples_trained", std::to_string(state.samples_trained)}});
  const std::string name = slice_name(rank_, world_size_);
  store_.put(folder + "/" + name, bytes);
  SliceWritten slice;
  slice.checkpoint = folder;
  slice.step = step;
  slice.slice = rank_;
  slice.slices = world_size_;
  slice.key = name;
  slice.size = bytes.size();
  slice.checksum = hash64(bytes);
  slice.header = header;
  client_.slice_written(slice, Deadline::after(kSliceTimeout));
}

namespace {

struct Slice {
  Safetensors tensors;
  double weight = 0;
};

std::vector<Slice> read_slices(ObjectStore& store, const Json& manifest) {
  std::vector<Slice> slices;
  for (const Json& entry : manifest.at("slices")) {
    const auto key = entry.at("key").get<std::string>();
    const std::string where = store.root().join(key).str();
    const auto bytes = store.read(key);
    if (bytes.size() != entry.at("size").get<std::uint64_t>() ||
        hex64(hash64(bytes)) != entry.at("checksum")) {
      throw Error(
          ErrorCode::kDataLoss,
          where + " is damaged: its size or checksum is not what the checkpoint's manifest says");
    }
    Slice slice{from_safetensors(bytes, where), 0};
    slice.weight = std::stod(slice.tensors.metadata.at("samples_trained"));
    slices.push_back(std::move(slice));
  }
  return slices;
}

void restore_buffers(Model& model, const std::vector<Slice>& slices, int rank, bool same_world) {
  double total = 0;
  for (const Slice& slice : slices) total += std::max(1.0, slice.weight);
  for (auto& [name, buffer] : model.buffers()) {
    const std::string key = "buffer." + name;
    if (same_world || !buffer.is_floating_point()) {
      const auto& own = slices[same_world ? static_cast<std::size_t>(rank) : 0];
      buffer.copy_(own.tensors.tensors.at(key));
      continue;
    }
    at::Tensor mean = at::zeros_like(buffer, at::TensorOptions(at::kDouble).device(at::kCPU));
    for (const Slice& slice : slices) {
      mean.add_(slice.tensors.tensors.at(key).to(at::kDouble), std::max(1.0, slice.weight) / total);
    }
    buffer.copy_(mean);
  }
}

}  // namespace

TrainingState load_checkpoint(ObjectStore& store, const CheckpointIdentity& identity, int rank,
                              int world_size, FlatParameters& parameters, Optimizer& optimizer,
                              Model& model) try {
  const at::NoGradGuard no_grad;
  const Json manifest = Json::parse(read_text(store, "manifest.json"));
  const Json& header = manifest.at("header");
  check_identity(header.at("identity"), identity, store.root().str());

  const auto slices = read_slices(store, manifest);
  const int count = static_cast<int>(slices.size());
  for (auto& [name, flat] : flat_state(parameters, optimizer)) {
    for (int i = 0; i < count; ++i) {
      const Range range = slice_range(parameters.size(), i, count);
      const at::Tensor& part = slices[static_cast<std::size_t>(i)].tensors.tensors.at(name);
      if (part.numel() != range.count) {
        throw Error(ErrorCode::kDataLoss, store.root().join(slice_name(i, count)).str() + ": \"" +
                                              name + "\" has " + std::to_string(part.numel()) +
                                              " elements instead of " +
                                              std::to_string(range.count));
      }
    }
  }
  for (auto& [name, flat] : flat_state(parameters, optimizer)) {
    for (int i = 0; i < count; ++i) {
      const Range range = slice_range(parameters.size(), i, count);
      flat.narrow(0, range.begin, range.count)
          .copy_(slices[static_cast<std::size_t>(i)].tensors.tensors.at(name));
    }
  }
  const bool same_world = count == world_size;
  restore_buffers(model, slices, rank, same_world);

  TrainingState state;
  state.step = header.at("step").get<std::uint64_t>();
  optimizer.set_steps(static_cast<std::int64_t>(state.step));
  const Json& tally = header.at("tally");
  state.tally.digest = digest_from(tally.at("digest"));
  state.tally.undecodable = digest_from(tally.at("undecodable"));
  state.tally.loss_sum = tally.at("loss_sum").get<double>();
  state.tally.correct = tally.at("correct").get<std::uint64_t>();
  double trained = 0;
  for (const Slice& slice : slices) trained += slice.weight;
  state.samples_trained =
      same_world ? static_cast<std::uint64_t>(slices[static_cast<std::size_t>(rank)].weight)
                 : static_cast<std::uint64_t>(trained / world_size);
  return state;
} catch (const nlohmann::json::exception& error) {
  throw Error(ErrorCode::kDataLoss, store.root().join("manifest.json").str() +
                                        " is not a checkpoint's manifest: " + error.what());
} catch (const std::out_of_range&) {
  throw Error(ErrorCode::kDataLoss,
              store.root().str() + ": a slice lacks a tensor that its manifest promises");
}

}  // namespace musher

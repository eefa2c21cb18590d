#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"
#include "model/weights.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_format.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

struct Slice {
  Safetensors tensors;
  double weight = 0;
};

/// What must be there and is not was lost, as much as if it were cut.
[[noreturn]] void rethrow_as_loss(const Error& error) {
  if (error.code() == ErrorCode::kNotFound) throw Error(ErrorCode::kDataLoss, error.what());
  throw error;
}

std::vector<Slice> read_slices(ObjectStore& store, const Json& manifest) {
  std::vector<Slice> slices;
  for (const Json& entry : manifest.at("slices")) {
    const auto key = entry.at("key").get<std::string>();
    const std::string where = store.root().join(key).str();
    const auto bytes = store.read(key);
    const auto size = entry.at("size").get<std::uint64_t>();
    if (bytes.size() != size) {
      throw Error(ErrorCode::kDataLoss, fmt::format("{} is damaged: it has {} bytes instead of {}",
                                                    where, bytes.size(), size));
    }
    if (hex64(hash64(bytes)) != entry.at("checksum")) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("{} is damaged: its checksum is not the one in the manifest", where));
    }
    Slice slice{from_safetensors(bytes, where), 0};
    slice.weight = std::stod(slice.tensors.metadata.at(kSamplesTrained));
    slices.push_back(std::move(slice));
  }
  return slices;
}

void check_sizes(const std::vector<Slice>& slices, const std::string& name, std::int64_t total,
                 const std::string& where) {
  const int count = static_cast<int>(slices.size());
  for (int i = 0; i < count; ++i) {
    const ElementRange range = slice_range(total, {i, count});
    const at::Tensor& part = slices[static_cast<std::size_t>(i)].tensors.tensors.at(name);
    if (part.numel() != range.count || part.scalar_type() != at::kFloat) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("{}/{}: \"{}\" has {} elements of {} instead of {} of float", where,
                              slice_name({i, count}), name, part.numel(),
                              c10::toString(part.scalar_type()), range.count));
    }
  }
}

void check_buffers(const NamedTensors& buffers, const std::vector<Slice>& slices,
                   const std::string& where) {
  for (const auto& [name, buffer] : buffers) {
    for (const Slice& slice : slices) {
      if (slice.tensors.tensors.at(name).sizes() != buffer.sizes()) {
        throw Error(ErrorCode::kDataLoss, fmt::format("{}: {} has another shape than the "
                                                      "model's",
                                                      where, name));
      }
    }
  }
}

void restore_buffers(NamedTensors buffers, const std::vector<Slice>& slices, int own,
                     bool same_world) {
  double total = 0;
  for (const Slice& slice : slices) total += std::max(1.0, slice.weight);
  for (auto& [name, buffer] : buffers) {
    if (same_world || !buffer.is_floating_point()) {
      const auto& mine = slices[same_world ? static_cast<std::size_t>(own) : 0];
      buffer.copy_(mine.tensors.tensors.at(name));
      continue;
    }
    at::Tensor mean = at::zeros_like(buffer, at::TensorOptions(at::kDouble).device(at::kCPU));
    for (const Slice& slice : slices) {
      mean.add_(slice.tensors.tensors.at(name).to(at::kDouble),
                std::max(1.0, slice.weight) / total);
    }
    buffer.copy_(mean);
  }
}

std::uint64_t samples_of(const std::vector<Slice>& slices, Slicing own) {
  if (static_cast<int>(slices.size()) == own.slices) {
    return static_cast<std::uint64_t>(slices[static_cast<std::size_t>(own.slice)].weight);
  }
  double trained = 0;
  for (const Slice& slice : slices) trained += slice.weight;
  return static_cast<std::uint64_t>(trained / own.slices);
}

}  // namespace

TrainingState load_checkpoint(ObjectStore& store, const CheckpointIdentity& identity, Slicing own,
                              const StateTensors& tensors, Optimizer& optimizer) try {
  const at::NoGradGuard no_grad;
  const std::string where = store.root().str();
  const Json manifest = Json::parse(read_text(store, "manifest.json"));
  const Json& header = manifest.at("header");
  check_identity(header, identity, where);
  TrainingState state = state_from(header);
  const auto slices = read_slices(store, manifest);
  const int count = static_cast<int>(slices.size());
  if (count == 0 || count != header.at("world_size")) {
    throw Error(ErrorCode::kDataLoss, where +
                                          "/manifest.json names another number of slices than "
                                          "there were ranks");
  }
  for (const auto& [name, flat] : tensors.flat) check_sizes(slices, name, flat.numel(), where);
  check_buffers(tensors.own, slices, where);

  for (const auto& [name, flat] : tensors.flat) {
    for (int i = 0; i < count; ++i) {
      const ElementRange range = slice_range(flat.numel(), {i, count});
      flat.narrow(0, range.begin, range.count)
          .copy_(slices[static_cast<std::size_t>(i)].tensors.tensors.at(name));
    }
  }
  restore_buffers(tensors.own, slices, own.slice, count == own.slices);
  optimizer.set_progress(state.optimizer);
  state.samples_trained = samples_of(slices, own);
  return state;
} catch (const Error& error) {
  rethrow_as_loss(error);
} catch (const nlohmann::json::exception& error) {
  throw Error(ErrorCode::kDataLoss, store.root().join("manifest.json").str() +
                                        " is not a checkpoint's manifest: " + error.what());
} catch (const std::logic_error&) {  // of a map without the key, or of text that is no number
  throw Error(ErrorCode::kDataLoss, store.root().str() +
                                        ": a slice or the manifest lacks what a checkpoint must "
                                        "have");
}

LoadedCheckpoint load_newest_checkpoint(const std::vector<std::string>& candidates,
                                        const StorageConfig& storage,
                                        const CheckpointIdentity& identity, Slicing own,
                                        const StateTensors& tensors, Optimizer& optimizer) {
  LoadedCheckpoint loaded;
  for (const std::string& uri : candidates) {
    try {
      const auto store = open_store(Uri::parse(uri), storage);
      loaded.state = load_checkpoint(*store, identity, own, tensors, optimizer);
      loaded.uri = uri;
      return loaded;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDataLoss) throw;
      loaded.notices.push_back(fmt::format("checkpoint {} passed over: {}", uri, error.what()));
    }
  }
  std::string all;
  for (const std::string& text : loaded.notices) all += (all.empty() ? "" : "; ") + text;
  throw Error(ErrorCode::kDataLoss,
              "no checkpoint is left to resume from; remove them to start from the beginning, or "
              "name another CheckpointConfig.S3Uri: " +
                  all);
}

}  // namespace musher

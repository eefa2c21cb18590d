#include "coordinator/checkpoints.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {

namespace {

constexpr const char* kFormat = "musher-checkpoint-1";
constexpr std::string_view kManifest = "/manifest.json";

std::uint64_t step_of(ObjectStore& store, const std::string& key) {
  const std::string where = store.root().join(key).str();
  const auto manifest = nlohmann::json::parse(read_text(store, key), nullptr, false);
  if (!manifest.is_object() || !manifest.contains("format") || manifest["format"] != kFormat ||
      !manifest.contains("step") || !manifest["step"].is_number_unsigned()) {
    throw Error(ErrorCode::kDataLoss, where + " is not a checkpoint's manifest");
  }
  return manifest["step"].get<std::uint64_t>();
}

}  // namespace

CheckpointSearch find_checkpoint(ObjectStore& store) {
  std::vector<std::string> manifests;
  store.list("", [&](std::vector<ObjectInfo> page) {
    for (const ObjectInfo& object : page) {
      const std::string& key = object.key;
      if (key.ends_with(kManifest) && key.find('/') == key.size() - kManifest.size()) {
        manifests.push_back(key);
      }
    }
  });
  std::sort(manifests.begin(), manifests.end());
  CheckpointSearch search;
  for (const std::string& key : manifests) {
    try {
      const std::uint64_t step = step_of(store, key);
      if (!search.newest || step >= search.newest->step) {
        search.newest = {key.substr(0, key.size() - kManifest.size()), step};
      }
    } catch (const Error& error) {
      search.notices.push_back("checkpoint skipped: " + std::string(error.what()));
    }
  }
  return search;
}

std::string checkpoint_manifest(const std::vector<SliceRecord>& slices) {
  const SliceRecord& first = slices.front();
  nlohmann::ordered_json manifest = {{"format", kFormat}, {"step", first.step}};
  const auto header = nlohmann::ordered_json::parse(first.header, nullptr, false);
  if (header.is_discarded()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the header of checkpoint " + first.checkpoint + " is not JSON");
  }
  manifest["header"] = header;
  auto& entries = manifest["slices"] = nlohmann::ordered_json::array();
  for (const SliceRecord& slice : slices) {
    if (slice.header != first.header || slice.step != first.step) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the slices of checkpoint " + first.checkpoint + " do not belong together");
    }
    entries.push_back(
        {{"key", slice.key}, {"size", slice.size}, {"checksum", hex64(slice.checksum)}});
  }
  return manifest.dump(1) + "\n";
}

void commit_checkpoint(ObjectStore& store, const std::vector<SliceRecord>& slices) {
  const std::string text = checkpoint_manifest(slices);
  store.put(slices.front().checkpoint + std::string(kManifest), std::as_bytes(std::span(text)));
}

void remove_checkpoint(ObjectStore& store, const std::string& folder) {
  store.remove(folder + std::string(kManifest));
  std::vector<std::string> keys;
  store.list(folder, [&](std::vector<ObjectInfo> page) {
    for (const ObjectInfo& object : page) keys.push_back(object.key);
  });
  for (const std::string& key : keys) store.remove(key);
}

}  // namespace musher

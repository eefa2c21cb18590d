#include "coordinator/checkpoints.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "musher-checkpoint-2";
constexpr std::string_view kManifest = "/manifest.json";

/// Of all that the manifest says beside it, so that a changed digit is found as well as a cut.
std::string checksum_of(Json manifest) {
  manifest.erase("checksum");
  return hex64(hash64(manifest.dump()));
}

std::uint64_t step_of(ObjectStore& store, const std::string& key) {
  const std::string where = store.root().join(key).str();
  const auto manifest = Json::parse(read_text(store, key), nullptr, false);
  if (!manifest.is_object() || manifest.value("format", Json()) != kFormat ||
      !manifest.value("step", Json()).is_number_unsigned()) {
    throw Error(ErrorCode::kDataLoss, where + " is not a checkpoint's manifest");
  }
  if (manifest.value("checksum", Json()) != checksum_of(manifest)) {
    throw Error(ErrorCode::kDataLoss, where + " is damaged: its checksum is not its own");
  }
  return manifest["step"].get<std::uint64_t>();
}

/// Damaged, or removed since it was listed. Anything else, as a store that can't be reached, is no
/// reason to take an older one.
bool is_loss(const Error& error) {
  return error.code() == ErrorCode::kDataLoss || error.code() == ErrorCode::kNotFound;
}

}  // namespace

CheckpointSearch find_checkpoints(ObjectStore& store) {
  std::vector<std::string> manifests;
  store.list("", [&](std::vector<ObjectInfo> page) {
    for (const ObjectInfo& object : page) {
      const std::string& key = object.key;
      if (key.ends_with(kManifest) && key.find('/') == key.size() - kManifest.size()) {
        manifests.push_back(key);
      }
    }
  });
  std::sort(manifests.begin(), manifests.end(), std::greater<>());
  CheckpointSearch search;
  for (const std::string& key : manifests) {
    try {
      search.found.push_back({key.substr(0, key.size() - kManifest.size()), step_of(store, key)});
    } catch (const Error& error) {
      if (!is_loss(error)) throw;
      search.notices.push_back("checkpoint passed over: " + std::string(error.what()));
    }
  }
  if (search.found.empty() && !search.notices.empty()) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("none of the checkpoints in {} can be used; remove them to start from "
                            "the beginning, or name another CheckpointConfig.S3Uri: {}",
                            store.root().str(), fmt::join(search.notices, "; ")));
  }
  std::stable_sort(search.found.begin(), search.found.end(),
                   [](const auto& a, const auto& b) { return a.step > b.step; });
  return search;
}

std::string checkpoint_manifest(const std::vector<SliceRecord>& slices) {
  const SliceRecord& first = slices.front();
  Json manifest = {{"format", kFormat}, {"step", first.step}};
  const auto header = Json::parse(first.header, nullptr, false);
  if (header.is_discarded()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the header of checkpoint " + first.checkpoint + " is not JSON");
  }
  manifest["header"] = header;
  auto& entries = manifest["slices"] = Json::array();
  for (const SliceRecord& slice : slices) {
    if (slice.header != first.header || slice.step != first.step) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the slices of checkpoint " + first.checkpoint + " do not belong together");
    }
    entries.push_back(
        {{"key", slice.key}, {"size", slice.size}, {"checksum", hex64(slice.checksum)}});
  }
  manifest["checksum"] = checksum_of(manifest);
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

#include "coordinator/checkpoints.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "musher-checkpoint-3";
constexpr std::string_view kManifest = "/manifest.json";
constexpr std::string_view kStep = "step-";

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

bool has_manifest(ObjectStore& store, const std::string& folder) {
  try {
    store.head(folder + std::string(kManifest));
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    return false;
  }
}

/// Damaged, or removed since it was listed. Anything else, as a store that can't be reached, is no
/// reason to take an older one.
bool is_loss(const Error& error) {
  return error.code() == ErrorCode::kDataLoss || error.code() == ErrorCode::kNotFound;
}

}  // namespace

CheckpointSearch find_checkpoints(ObjectStore& store) {
  std::vector<std::string> manifests;
  store.list("", [&](const std::vector<ObjectInfo>& page) {
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
  store.remove_folder(folder);
}

std::optional<CheckpointName> parse_checkpoint_name(std::string_view folder) {
  const auto number = [](std::string_view text, std::uint64_t& value) {
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    return problem == std::errc() && end == text.data() + text.size();
  };
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= folder.size();) {
    const std::size_t end = std::min(folder.find('.', begin), folder.size());
    parts.push_back(folder.substr(begin, end - begin));
    begin = end + 1;
  }
  CheckpointName name;
  if (parts.size() != 4 || !parts[0].starts_with(kStep) ||
      !number(parts[0].substr(kStep.size()), name.step) || !number(parts[2], name.attempt) ||
      !number(parts[3], name.generation)) {
    return std::nullopt;
  }
  name.job = parts[1];
  return name;
}

std::vector<std::string> sweep_checkpoints(ObjectStore& store, const std::string& job) {
  std::vector<std::string> swept;
  for (const std::string& folder : store.folders("")) {
    const auto name = parse_checkpoint_name(folder);
    if (!name || name->job != job || has_manifest(store, folder)) continue;
    store.remove_folder(folder);
    swept.push_back(folder);
  }
  return swept;
}

void prune_checkpoints(ObjectStore& store, const Retention& retention) {
  const std::size_t own = std::min(retention.kept, retention.committed.size());
  const std::set<std::string> newest(retention.committed.end() - static_cast<std::ptrdiff_t>(own),
                                     retention.committed.end());
  std::vector<std::pair<std::uint64_t, std::string>> older;
  for (const std::string& folder : store.folders("")) {
    const auto name = parse_checkpoint_name(folder);
    if (!name || name->job != retention.job || newest.contains(folder)) continue;
    if (has_manifest(store, folder)) {
      older.emplace_back(name->step, folder);
    } else if (name->step < retention.step) {
      store.remove_folder(folder);
    }
  }
  std::sort(older.begin(), older.end(), std::greater<>());
  for (std::size_t i = retention.kept - own; i < older.size(); ++i) {
    remove_checkpoint(store, older[i].second);
  }
}

}  // namespace musher

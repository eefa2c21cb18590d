#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/job_store.h"
#include "storage/object_store.h"

namespace musher {

struct CheckpointFound {
  std::string folder;  ///< key below the checkpoint URI
  std::uint64_t step = 0;
};

struct CheckpointSearch {
  std::optional<CheckpointFound> newest;  ///< the committed one of the highest step
  std::vector<std::string> notices;       ///< one for each manifest that can't be read
};

/// Looks through `<checkpoint URI>/*/manifest.json`. A folder without a manifest was never
/// committed and is not looked at.
CheckpointSearch find_checkpoint(ObjectStore& store);

/// The text of manifest.json for a checkpoint whose slices are all written.
std::string checkpoint_manifest(const std::vector<SliceRecord>& slices);

/// Writes manifest.json, and with it commits the checkpoint. REQUIRES: all slices are there.
void commit_checkpoint(ObjectStore& store, const std::vector<SliceRecord>& slices);

/// Its manifest first, so that it is never committed and incomplete.
void remove_checkpoint(ObjectStore& store, const std::string& folder);

}  // namespace musher

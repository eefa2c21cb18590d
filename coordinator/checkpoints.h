#pragma once

#include <cstdint>
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
  std::vector<CheckpointFound> found;  ///< the committed ones, the highest step first
  std::vector<std::string> notices;    ///< one for each manifest that is damaged
};

/// Looks through `<checkpoint URI>/*/manifest.json`. A folder without a manifest was never
/// committed and is not looked at. kDataLoss naming them where there are manifests and all are
/// damaged: to begin anew without a word would be worse.
CheckpointSearch find_checkpoints(ObjectStore& store);

/// The text of manifest.json for a checkpoint whose slices are all written.
std::string checkpoint_manifest(const std::vector<SliceRecord>& slices);

/// Writes manifest.json, and with it commits the checkpoint. REQUIRES: all slices are there.
void commit_checkpoint(ObjectStore& store, const std::vector<SliceRecord>& slices);

/// Its manifest first, so that it is never committed and incomplete.
void remove_checkpoint(ObjectStore& store, const std::string& folder);

}  // namespace musher

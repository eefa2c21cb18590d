#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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

/// A checkpoint's folder by the parts of its name, "step-0000000417.<job>.<attempt>.<generation>".
struct CheckpointName {
  std::uint64_t step = 0;
  std::string job;
  std::uint64_t attempt = 0;
  std::uint64_t generation = 0;
};

/// Nothing for a name of any other form.
std::optional<CheckpointName> parse_checkpoint_name(std::string_view folder);

/// Removes what crashes left of `job`'s checkpoints: its own folders that have no manifest. Returns
/// their names. REQUIRES: none of them is being written.
std::vector<std::string> sweep_checkpoints(ObjectStore& store, const std::string& job);

/// What is left of `job`'s checkpoints once that of `step` stands.
struct Retention {
  std::string job;
  std::uint64_t step = 0;
  std::size_t kept = 3;                ///< how many stay
  std::vector<std::string> committed;  ///< folders that this coordinator knows of, oldest first
};

/// Removes `job`'s own folders but for the newest `kept` committed ones: first those that this
/// coordinator committed last, then the highest steps of those that are there from an earlier run;
/// and those without a manifest that belong to an earlier step: no rank writes to them any more.
void prune_checkpoints(ObjectStore& store, const Retention& retention);

}  // namespace musher

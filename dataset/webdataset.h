#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataset/sources.h"

namespace musher {

/// The manifest of a channel of WebDataset tars (dataset/sources.h). `tars`: sorted by key.
/// `names_key`: of the classes.txt beside them, if there is one. Inside dataset.
Manifest webdataset_manifest(ObjectStore& store, const std::vector<ObjectInfo>& tars,
                             const std::optional<std::string>& names_key,
                             const ManifestOptions& options);

}  // namespace musher

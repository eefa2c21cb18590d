#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dataset/manifest.h"
#include "storage/object_store.h"

namespace musher {

/// How a channel's objects are laid out.
enum class Layout { kImageFolder, kWebDataset };

/// The manifest of what lies below the store's root. Image folder: `<class>/<file>`, classes sorted by name, sorted by key,
/// 256 objects a shard, files that are not images (.jpg .jpeg .png .webp) left out and counted. WebDataset: `*.tar` sorted by
/// key, one shard each, members `<key>.<ext>` with an image (jpg, jpeg, png, webp) and `<key>.cls` (the class as a decimal
/// number); class names from `classes.txt` beside the tars (one a line) where there is one, else "0", "1", ….
/// The layout is WebDataset where there is a tar, else image folder. `classes`: those of the train channel, for a validation
/// channel that must agree with it: same names, or for numbers a label outside them is kInvalidArgument naming the sample.
/// Throws kNotFound for a prefix without a sample, naming the URI and what was looked for.
struct ManifestOptions {
  std::optional<std::vector<std::string>> classes;
  std::string cache_folder;  ///< local folder where indexes of tars are kept by (URI, size, time), empty for none
};
Manifest make_manifest(ObjectStore& store, const ManifestOptions& options);

}  // namespace musher

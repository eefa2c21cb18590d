#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataset/manifest.h"
#include "storage/object_store.h"

namespace musher {

/// The samples of one WebDataset tar.
struct TarIndex {
  /// decode_shard() gives them, in the tar's order. Labels are the numbers in the tar, or, where
  /// `names` is not empty, indexes into it.
  std::vector<std::byte> block;
  std::vector<std::string> names;        ///< classes that the tar gives by name, as they come first
  std::int64_t largest_label = -1;       ///< -1 without a sample
  std::uint64_t keys_without_image = 0;  ///< groups of members that were left out
};

/// Reads the tar from end to end, once, in ranges of some MiB, and notes where each image lies; in
/// a gzip tar, where it lies in the tar as it is unpacked.
/// Which members make a sample, and what is thrown for a tar that is not right: dataset/sources.h.
/// Thread-safe for different calls. Inside dataset.
TarIndex index_tar(ObjectStore& store, const ObjectInfo& tar);

}  // namespace musher

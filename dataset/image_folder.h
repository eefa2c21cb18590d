#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "dataset/sorted_names.h"
#include "dataset/sources.h"

namespace musher {

/// Whether a file of this name is an image that Musher decodes, by its extension.
bool is_image_name(std::string_view name);

/// A folder of images by class (dataset/sources.h), gathered from a listing in any order, in about
/// 15 bytes an image. Inside dataset.
class ImageFolder {
 public:
  /// Takes the object if it is an image in a class's folder; else returns false.
  bool add(const ObjectInfo& object);
  bool empty() const { return images_.empty(); }
  void clear() { *this = {}; }
  std::uint64_t images() const { return images_.size(); }

  /// Uses up what was gathered.
  Manifest manifest(const Uri& root, const ManifestOptions& options) &&;

 private:
  std::set<std::string, std::less<>> classes_;
  SortedNames images_;  ///< keys, and their sizes
};

}  // namespace musher

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dataset/sources.h"

namespace musher {

/// Whether a file of this name is an image that Musher decodes, by its extension.
bool is_image_name(std::string_view name);

/// A folder of images by class (dataset/sources.h), gathered from a listing in any order. Holds a
/// file's name once and 24 bytes beside it, so that 10 million fit in well under a GB. Inside
/// dataset.
class ImageFolder {
 public:
  /// Takes the object if it is an image in a class's folder; else returns false.
  bool add(const ObjectInfo& object);
  bool empty() const { return classes_.empty(); }
  void clear() { classes_.clear(); }
  std::uint64_t images() const;

  /// Uses up what was gathered.
  Manifest manifest(const Uri& root, const ManifestOptions& options) &&;

 private:
  struct File {
    std::uint64_t name_begin = 0;  ///< in names
    std::uint32_t name_length = 0;
    std::uint64_t size = 0;
  };
  struct Class {
    std::string names;  ///< one after the other
    std::vector<File> files;
    std::string_view name(const File& file) const {
      return std::string_view(names).substr(file.name_begin, file.name_length);
    }
  };

  std::map<std::string, Class, std::less<>> classes_;
};

}  // namespace musher

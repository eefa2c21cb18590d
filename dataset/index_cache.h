#pragma once

#include <optional>
#include <string>

#include "dataset/tar_index.h"

namespace musher {

/// Indexes of tars that were read before, one file each in a local folder. A file that is damaged,
/// or is of a tar that has changed since, is as good as none. Safe to share between threads and
/// processes. Inside dataset.
class IndexCache {
 public:
  /// `folder`: made if need be; empty: nothing is kept.
  IndexCache(std::string folder, const Uri& root) : folder_(std::move(folder)), root_(root.str()) {}

  std::optional<TarIndex> find(const ObjectInfo& tar) const;
  /// Whole or not at all. False where it can't be written: the caller may say so, and goes on
  /// without.
  bool keep(const ObjectInfo& tar, const TarIndex& index) const;

 private:
  std::string identity(const ObjectInfo& tar) const;
  std::string path(const std::string& identity) const;
  /// A store that gives no time can't tell a changed object from the old one.
  bool usable(const ObjectInfo& tar) const { return !folder_.empty() && tar.modified != 0; }

  std::string folder_;
  std::string root_;
};

}  // namespace musher

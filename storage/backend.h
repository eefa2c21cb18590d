#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <arrow/filesystem/filesystem.h>

#include "common/error.h"
#include "storage/object_store.h"

namespace musher {

/// What differs between the schemes below one Arrow file system interface. Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;

  /// Made at the first call, since that may touch the network.
  virtual std::shared_ptr<arrow::fs::FileSystem> files() = 0;

  /// An upload that is visible, whole, at commit.
  virtual std::unique_ptr<ObjectWriter> writer(const Uri& uri) = 0;

  /// The error of a call that failed: "<action> <uri>: <why>".
  virtual Error error(const arrow::Status& status, std::string_view action, const Uri& uri) = 0;

  /// The error for an object or folder of which Arrow says that it is not there.
  virtual Error missing(std::string_view action, const Uri& uri) = 0;

  /// Throws if the listing of `root` is empty because what holds it does not exist.
  virtual void check_empty_listing(const Uri& root) = 0;

  /// Whether a file of this name is an unfinished upload, to be kept out of listings.
  virtual bool is_temporary(std::string_view name) const = 0;
};

std::shared_ptr<Backend> make_local_backend();
/// kInvalidArgument for an endpoint that is no `http://host[:port]` or `https://host[:port]`.
std::shared_ptr<Backend> make_s3_backend(const StorageConfig& config);

/// The path by which Arrow's file systems know `uri`.
std::string arrow_path(const Uri& uri);

}  // namespace musher

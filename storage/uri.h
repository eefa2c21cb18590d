#pragma once

#include <string>
#include <string_view>

namespace musher {

/// `s3://bucket/some/prefix` or `file:///some/folder`. A value.
struct Uri {
  std::string scheme;  ///< "s3" or "file"
  std::string bucket;  ///< empty for file
  std::string path;    ///< without leading slash for s3, absolute for file; never a trailing slash
                       ///< (but "/" itself for file)

  /// Throws kInvalidArgument with the text and what would be right.
  static Uri parse(std::string_view text);

  std::string str() const;
  /// The URI of `key` below this one.
  Uri join(std::string_view key) const;
  bool operator==(const Uri&) const = default;
};

}  // namespace musher

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataset/key_list.h"
#include "dataset/sources.h"

namespace musher {

/// The objects that a channel is made of where a file names them, as SageMaker's S3DataType says.
struct ObjectList {
  Uri root;      ///< what keys are relative to
  KeyList keys;  ///< each once, in the file's order
};

/// ManifestFile: `[{"prefix": "s3://bucket/some/prefix/"}, "relative/path/a", …]`; an object's URI
/// is the prefix with the path behind it, letter by letter. `uri` is the file's own, for messages.
/// Throws kInvalidArgument for what is none, has no prefix or no path, or names an object twice.
ObjectList parse_manifest_file(std::string_view json, const std::string& uri);

/// One line of an AugmentedManifestFile.
struct LabelledObjects {
  ObjectList objects;                ///< root is their longest common folder
  std::vector<std::int64_t> labels;  ///< of each key
  std::vector<std::string> classes;
};

/// AugmentedManifestFile: a JSON object a line, e.g. `{"source-ref": "s3://bucket/a.jpg", "class":
/// 2, "class-metadata": {"class-name": "cat"}}`. `attributes`: the name of what holds the image's
/// URI, then of what holds its class (a whole number from 0, or a name). Classes that are numbers
/// are named by the metadata that Ground Truth writes beside them, where each has such a name, else
/// "0", "1", …; classes that are names are sorted. Throws kInvalidArgument, naming the line.
LabelledObjects parse_augmented_manifest(std::string_view lines, const std::string& uri,
                                         const std::vector<std::string>& attributes);

/// The channel's manifest of a parse_manifest_file(): what make_manifest makes of these objects
/// alone. `store` is opened at the list's root, whose listing gives the sizes; an object that is
/// not there is kNotFound.
Manifest listed_manifest(ObjectStore& store, const ObjectList& list,
                         const ManifestOptions& options);

/// Likewise of a parse_augmented_manifest(), sorted by key, 256 images a shard. With
/// `options.classes` these are the classes, and labels are matched to them by name.
Manifest labelled_manifest(ObjectStore& store, const LabelledObjects& labelled,
                           const ManifestOptions& options);

}  // namespace musher

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "dataset/manifest.h"
#include "dataset/numbers.h"
#include "storage/object_store.h"

namespace musher {

/// What the objects of a channel are. Images: a folder by class, or WebDataset tars.
struct ImageLayout {};
/// Rows of numbers.
struct TableLayout {
  bool header = false;  ///< the first line of each .csv names the columns
};

/// Streams of tokens.
struct TokenLayout {
  std::uint64_t context = 1;                  ///< tokens that a sample predicts
  NumberType raw_type = NumberType::kUInt16;  ///< of .bin files
};

struct ManifestOptions {
  std::variant<ImageLayout, TableLayout, TokenLayout> layout;
  /// Those of the train channel, for a validation channel that must agree with it.
  std::optional<std::vector<std::string>> classes;
  /// Local folder where indexes of tars are kept by (URI, size, time), empty for none. May be
  /// shared by processes.
  std::string cache_folder;
  /// Gets a line for each kind of thing that was left out, with its count and an example. Called on
  /// the caller's thread.
  std::function<void(const std::string&)> notice;
};

/// The manifest of what lies below the store's root. Images: the layout is WebDataset where there
/// is a tar, else image folder.
///
/// Image folder: `<class>/<file>`, classes sorted by name, samples sorted by key, 256 objects a
/// shard. As in torchvision, a file may lie deeper in its class's folder. What is no image (.jpg
/// .jpeg .png .webp, in either case) or lies outside a class is left out and counted.
///
/// WebDataset: `*.tar`, or in gzip `*.tar.gz` and `*.tgz`, sorted by key, one shard each, samples
/// in the tar's order. All members `<key>.<ext>` make one sample, where the key, folders and all,
/// ends at the first dot of the file's name. Its image is the member whose extension is jpg, jpeg,
/// png or webp, else the only one whose extension ends so (`left.jpg`). Its class is in `<key>.cls`
/// (a decimal number), else in `<key>.json` under "label", "class" or "cls" (a whole number, or a
/// name). Class names come from `classes.txt` beside the tars (one a line) where there is one, else
/// they are the names in the tars, sorted, else "0", "1", … . A key without an image is left out
/// and counted; an image without a class is kInvalidArgument naming tar and key; a tar that is cut
/// off or damaged is kDataLoss naming it. Each tar is read once from end to end, several side by
/// side.
///
/// With `options.classes` the manifest has exactly those. A folder that is not among them, a
/// classes.txt that differs or a number outside them is kInvalidArgument; a class without a sample
/// is fine. Where they are just numbers, a classes.txt of the validation channel has no say.
///
/// Table: the rows of `*.csv`, lines of decimal numbers with commas between, and of `*.npy`, arrays
/// of rows and columns; files sorted by key, rows in their order, 1024 a shard. A sample is a row,
/// its key `<file>/<line>` (counted from 1) or `<file>/<row>` (from 0), its label a NumberType
/// (dataset/numbers.h). The classes are the columns' names, without a header "0", "1", …; all files
/// must have the same. Other files are left out and counted.
///
/// Tokens: `*.npy`, arrays of one dimension of whole numbers, and `*.bin`, such numbers alone;
/// sorted by key, 256 samples a shard. A sample is a window of context + 1 tokens, of which each
/// but the first is predicted; the next window begins with the last one. What is left at a file's
/// end is counted. Its key is `<file>/<window>` (from 0), its label a NumberType; there are no
/// classes.
///
/// Throws kNotFound for a prefix without a sample, naming the URI and what was looked for.
Manifest make_manifest(ObjectStore& store, const ManifestOptions& options);

/// Which of a store's objects a manifest is made of.
struct ObjectFilter {
  std::function<bool(const ObjectInfo&)> wanted;
  std::function<void()> listed;  ///< called when the listing is through; may throw
};
Manifest make_manifest(ObjectStore& store, const ManifestOptions& options,
                       const ObjectFilter& filter);

}  // namespace musher

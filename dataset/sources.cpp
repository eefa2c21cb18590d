#include "dataset/sources.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/error.h"
#include "dataset/image_folder.h"
#include "dataset/table.h"
#include "dataset/tokens.h"
#include "dataset/unpacked_tar.h"
#include "dataset/webdataset.h"

namespace musher {
namespace {

constexpr std::string_view kNamesFile = "classes.txt";

/// How many of a kind, and one of them for the message. The first by name, so that a message is the
/// same every time.
struct Tally {
  std::uint64_t count = 0;
  std::string example;

  void add(const std::string& key) {
    if (count++ == 0 || key < example) example = key;
  }
  std::string str() const { return fmt::format("{}, e.g. {}", count, example); }
};

struct Listing {
  std::vector<ObjectInfo> tars;
  std::vector<std::string> names_files;
  ImageFolder folder;              ///< empty once there is a tar
  std::uint64_t loose_images = 0;  ///< in class folders, but beside tars
  Tally stray_images;              ///< not in a class's folder
  Tally others;

  void add(ObjectInfo&& object);
};

bool is_names_file(std::string_view key) {
  return key == kNamesFile ||
         (key.ends_with(kNamesFile) && key[key.size() - kNamesFile.size() - 1] == '/');
}

void Listing::add(ObjectInfo&& object) {
  if (object.key.empty() || object.key.ends_with('/'))
    return;  // marks a folder, as S3 consoles make
  if (is_tar_name(object.key)) {
    tars.push_back(std::move(object));
  } else if (is_names_file(object.key)) {
    names_files.push_back(std::move(object.key));
  } else if (folder.add(object)) {
    if (tars.empty()) return;
    loose_images += folder.images();
    folder.clear();
  } else {
    (is_image_name(object.key) ? stray_images : others).add(object.key);
  }
}

/// To be called when all is added.
void finish(Listing& listing) {
  std::ranges::sort(listing.tars, {}, &ObjectInfo::key);
  if (!listing.tars.empty()) {
    listing.loose_images += listing.folder.images();
    listing.folder.clear();
  }
}

/// The classes.txt beside the first tar, else the one at the root.
std::optional<std::string> names_beside(const Listing& listing) {
  const std::string& tar = listing.tars.front().key;
  const std::size_t slash = tar.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : tar.substr(0, slash + 1);
  for (const std::string& wanted : {folder + std::string(kNamesFile), std::string(kNamesFile)}) {
    if (std::ranges::find(listing.names_files, wanted) != listing.names_files.end()) return wanted;
  }
  return std::nullopt;
}

void notice_omissions(const ManifestOptions& options, const std::string& root,
                      const Listing& listing) {
  if (!options.notice) return;
  const auto say = [&](const Tally& tally, std::string_view what) {
    if (tally.count > 0)
      options.notice(fmt::format("{}: left out {} ({})", root, what, tally.str()));
  };
  say(listing.stray_images, "images that are in no class's folder");
  say(listing.others, "files that are no images");
  if (listing.loose_images > 0) {
    options.notice(
        fmt::format("{}: left out {} images beside the tars", root, listing.loose_images));
  }
}

[[noreturn]] void no_sample(const std::string& root, const Listing& listing) {
  std::string found;
  if (!listing.tars.empty())
    found += fmt::format("; tars without an image: {}", listing.tars.size());
  if (listing.stray_images.count > 0) {
    found += fmt::format("; images in no class's folder: {}", listing.stray_images.str());
  }
  if (listing.others.count > 0) found += fmt::format("; other files: {}", listing.others.str());
  throw Error(
      ErrorCode::kNotFound,
      fmt::format(
          "{} has no samples: looked for *.tar, *.tar.gz (WebDataset) and for <class>/<file> "
          "ending in .jpg, .jpeg, .png or .webp{}",
          root, found));
}

Manifest manifest_of(ObjectStore& store, Listing listing, const ManifestOptions& options) {
  finish(listing);
  const std::string root = store.root().str();
  if (listing.tars.empty() && listing.folder.empty()) no_sample(root, listing);
  notice_omissions(options, root, listing);
  if (listing.tars.empty()) return std::move(listing.folder).manifest(store.root(), options);
  Manifest manifest = webdataset_manifest(store, listing.tars, names_beside(listing), options);
  if (manifest.samples() == 0) no_sample(root, listing);
  return manifest;
}

}  // namespace

Manifest make_manifest(ObjectStore& store, const ManifestOptions& options) {
  return make_manifest(store, options, ObjectFilter{});
}

Manifest make_manifest(ObjectStore& store, const ManifestOptions& options,
                       const ObjectFilter& filter) {
  const auto list = [&](const std::function<void(ObjectInfo &&)>& add) {
    store.list("", [&](std::vector<ObjectInfo> page) {
      for (ObjectInfo& object : page) {
        if (!filter.wanted || filter.wanted(object)) add(std::move(object));
      }
    });
    if (filter.listed) filter.listed();
  };
  if (std::holds_alternative<ImageLayout>(options.layout)) {
    Listing listing;
    list([&](ObjectInfo&& object) { listing.add(std::move(object)); });
    return manifest_of(store, std::move(listing), options);
  }
  std::vector<ObjectInfo> objects;
  list([&](ObjectInfo&& object) { objects.push_back(std::move(object)); });
  std::ranges::sort(objects, {}, &ObjectInfo::key);
  return std::holds_alternative<TableLayout>(options.layout)
             ? table_manifest(store, objects, options)
             : token_manifest(store, objects, options);
}

}  // namespace musher

#include "dataset/webdataset.h"

#include <algorithm>
#include <atomic>
#include <set>

#include <fmt/format.h>

#include "common/error.h"
#include "common/parallel.h"
#include "dataset/index_cache.h"
#include "dataset/tar_index.h"
#include "dataset/unpacked_tar.h"

namespace musher {
namespace {

/// Tars read side by side: an object store's latency is what takes the time, not the cores.
constexpr std::size_t kReaders = 8;
/// Without class names the largest label says how many classes there are; a stray number must not
/// make a billion.
constexpr std::int64_t kMostUnnamedClasses = 1 << 20;
/// A gzip tar of about as much as three windows of samples (dataset/deal.h).
constexpr std::uint64_t kLargePacked = 96 << 20;

struct Indexes {
  std::vector<TarIndex> tars;
  bool all_kept = true;  ///< in the cache
};

Indexes read_indexes(ObjectStore& store, const std::vector<ObjectInfo>& tars,
                     const IndexCache& cache) {
  std::vector<TarIndex> indexes(tars.size());
  std::atomic<bool> all_kept = true;
  in_parallel("tar-index", kReaders, tars.size(), [&](std::size_t i) {
    if (auto known = cache.find(tars[i])) {
      indexes[i] = std::move(*known);
      return;
    }
    indexes[i] = index_tar(store, tars[i]);
    if (!cache.keep(tars[i], indexes[i])) all_kept = false;
  });
  return {.tars = std::move(indexes), .all_kept = all_kept};
}

std::vector<std::string> parse_names(const std::string& text, const std::string& uri) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string name = text.substr(begin, end - begin);
    if (name.ends_with('\r')) name.pop_back();
    begin = end + 1;
    if (name.empty() && text.find_first_not_of("\r\n", end) == std::string::npos) break;
    if (name.empty() || !seen.insert(name).second) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: line {} is \"{}\", which must be a class name that no other line has",
                      uri, names.size() + 1, name));
    }
    names.push_back(std::move(name));
  }
  return names;
}

std::string decimal(std::int64_t value) {
  return fmt::format("{}", value);
}

bool are_numbers(const std::vector<std::string>& classes) {
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (classes[i] != decimal(static_cast<std::int64_t>(i))) return false;
  }
  return true;
}

/// The train channel's classes, unless the names beside these tars say something else.
void check_names(const std::vector<std::string>& train, const std::vector<std::string>& names,
                 const std::string& uri) {
  if (are_numbers(train) || train == names) return;
  const auto [ours, theirs] = std::ranges::mismatch(names, train);
  const auto line = ours - names.begin();
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: class {} is {}, in the train channel it is {}; a validation channel must "
                  "have the same classes ({} here, {} there)",
                  uri, line, ours == names.end() ? "missing" : *ours,
                  theirs == train.end() ? "missing" : *theirs, names.size(), train.size()));
}

/// Classes by name that the tars themselves have, sorted; empty where they have numbers.
std::vector<std::string> names_in(const std::string& root, const std::vector<ObjectInfo>& tars,
                                  const std::vector<TarIndex>& indexes) {
  std::set<std::string> names;
  std::optional<std::size_t> named;
  std::optional<std::size_t> numbered;
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    if (indexes[i].largest_label < 0) continue;
    (indexes[i].names.empty() ? numbered : named) = i;
    names.insert(indexes[i].names.begin(), indexes[i].names.end());
  }
  if (named && numbered) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the classes in {} are names, in {} they are numbers; write one or "
                            "the other",
                            root, tars[*named].key, tars[*numbered].key));
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> classes_of(ObjectStore& store, const std::optional<std::string>& names_key,
                                    const std::vector<ObjectInfo>& tars,
                                    const std::vector<TarIndex>& indexes,
                                    const ManifestOptions& options) {
  if (names_key) {
    const std::string uri = fmt::format("{}/{}", store.root().str(), *names_key);
    const auto bytes = store.read(*names_key);
    auto names = parse_names({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, uri);
    if (!options.classes) return names;
    check_names(*options.classes, names, uri);
  }
  std::vector<std::string> names = names_in(store.root().str(), tars, indexes);
  if (options.classes) return *options.classes;
  if (!names.empty()) return names;
  std::int64_t largest = -1;
  for (const TarIndex& index : indexes) largest = std::max(largest, index.largest_label);
  std::vector<std::string> numbers;
  for (std::int64_t i = 0; i <= std::min(largest, kMostUnnamedClasses - 1); ++i) {
    numbers.push_back(decimal(i));
  }
  return numbers;
}

/// Labels that are indexes into the tar's own names become indexes into the manifest's.
void renumber(const std::string& tar, const std::vector<std::string>& names,
              const std::vector<std::string>& classes, std::vector<Sample>& samples) {
  if (names.empty()) return;
  std::vector<std::int64_t> numbers;
  for (const std::string& name : names) {
    const auto found = std::ranges::find(classes, name);
    if (found == classes.end()) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: class {} is not among the {} classes of classes.txt or the train "
                      "channel",
                      tar, name, classes.size()));
    }
    numbers.push_back(found - classes.begin());
  }
  for (Sample& sample : samples) sample.label = numbers.at(static_cast<std::size_t>(sample.label));
}

void check_labels(const std::string& root, const std::vector<Sample>& samples,
                  std::size_t classes) {
  for (const Sample& sample : samples) {
    if (static_cast<std::uint64_t>(sample.label) < classes) continue;
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}/{}: sample {} has class {}, where there are {} classes, numbered from 0",
                    root, sample.object, sample.key.substr(sample.object.size() + 1), sample.label,
                    classes));
  }
}

void notice_omissions(const ManifestOptions& options, const std::string& root,
                      const std::vector<ObjectInfo>& tars, const Indexes& indexes) {
  if (!options.notice) return;
  std::uint64_t keys = 0;
  std::string example;
  for (std::size_t i = 0; i < tars.size(); ++i) {
    if (indexes.tars[i].keys_without_image > 0 && keys == 0) example = tars[i].key;
    keys += indexes.tars[i].keys_without_image;
  }
  if (keys > 0) {
    options.notice(fmt::format(
        "{}: left out {} keys without an image (.jpg .jpeg .png .webp), the first in {}", root,
        keys, example));
  }
  if (!indexes.all_kept) {
    options.notice(
        fmt::format("{}: indexes of tars can't be written; they will be read again next time",
                    options.cache_folder));
  }
}

/// A reader of one has to begin at its beginning for each window of samples.
void notice_large_packed(const ManifestOptions& options, const std::string& root,
                         const std::vector<ObjectInfo>& tars) {
  std::uint64_t large = 0;
  const ObjectInfo* example = nullptr;
  for (const ObjectInfo& tar : tars) {
    if (!is_packed_tar_name(tar.key) || tar.size <= kLargePacked) continue;
    if (large++ == 0) example = &tar;
  }
  if (large == 0 || !options.notice) return;
  options.notice(fmt::format(
      "{}: {} gzip tars are larger than {} MiB (e.g. {}); each is unpacked from its beginning many "
      "times an epoch: make them smaller, or plain .tar",
      root, large, kLargePacked >> 20, example->key));
}

}  // namespace

Manifest webdataset_manifest(ObjectStore& store, const std::vector<ObjectInfo>& tars,
                             const std::optional<std::string>& names_key,
                             const ManifestOptions& options) {
  const std::string root = store.root().str();
  Indexes indexes = read_indexes(store, tars, IndexCache(options.cache_folder, store.root()));
  notice_omissions(options, root, tars, indexes);
  notice_large_packed(options, root, tars);
  Manifest manifest(classes_of(store, names_key, tars, indexes.tars, options));
  for (std::size_t i = 0; i < tars.size(); ++i) {
    TarIndex& index = indexes.tars[i];
    std::vector<Sample> samples = decode_shard(index.block);
    renumber(fmt::format("{}/{}", root, tars[i].key), index.names, manifest.classes(), samples);
    check_labels(root, samples, manifest.classes().size());
    manifest.add_shard(samples);
    index.block = {};  // one copy in memory is enough
  }
  return manifest;
}

}  // namespace musher

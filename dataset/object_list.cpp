#include "dataset/object_list.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::size_t kShardObjects = 256;
/// A stray number must not make a billion classes.
constexpr std::int64_t kMostClasses = 1 << 20;

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, where + ": " + what);
}

void check_unique(const std::vector<std::string>& keys, const std::string& uri) {
  std::unordered_set<std::string_view> seen;
  for (const std::string& key : keys) {
    if (!seen.insert(key).second) refuse(uri, key + " is in it twice; name each object once");
  }
}

/// Length of the longest folder, with its slash, that all keys lie in.
std::size_t common_folder(const std::vector<std::string>& keys) {
  std::string_view common = keys.front();
  for (const std::string& key : keys) {
    const auto end = std::ranges::mismatch(common, key).in1;
    common = common.substr(0, static_cast<std::size_t>(end - common.begin()));
  }
  const std::size_t slash = common.rfind('/');
  return slash == std::string_view::npos ? 0 : slash + 1;
}

Uri bucket_of(const Uri& object) {
  Uri root = object;
  root.path = object.scheme == "file" ? "/" : "";
  return root;
}

/// A path below bucket_of(): S3's key, or a file's path without its first slash.
std::string path_in_bucket(const Uri& object) {
  return object.scheme == "file" ? object.path.substr(1) : object.path;
}

/// A line's class: a number, or a name.
struct Label {
  std::optional<std::int64_t> number;
  std::string name;  ///< empty: the line has none
};

Label label_of(const Json& line, const std::string& attribute, const std::string& where) {
  const auto found = line.find(attribute);
  if (found == line.end()) refuse(where, fmt::format("has no \"{}\"", attribute));
  if (found->is_string() && !found->get<std::string>().empty()) {
    return {.number = std::nullopt, .name = found->get<std::string>()};
  }
  if (!found->is_number_integer() || found->get<std::int64_t>() < 0 ||
      found->get<std::int64_t>() >= kMostClasses) {
    refuse(where, fmt::format("\"{}\" must be a class, a whole number from 0 to {} or a name, not "
                              "{}",
                              attribute, kMostClasses - 1, found->dump()));
  }
  Label label = {.number = found->get<std::int64_t>(), .name = {}};
  const auto metadata = line.find(attribute + "-metadata");
  if (metadata != line.end() && metadata->is_object()) {
    const auto name = metadata->find("class-name");
    if (name != metadata->end() && name->is_string()) label.name = name->get<std::string>();
  }
  return label;
}

Uri source_of(const Json& line, const std::string& attribute, const std::string& where) {
  const auto found = line.find(attribute);
  if (found == line.end() || !found->is_string()) {
    refuse(where, fmt::format("\"{}\" must be the URI of an image", attribute));
  }
  try {
    return Uri::parse(found->get<std::string>());
  } catch (const Error& error) {
    refuse(where, error.what());
  }
}

/// Sets classes and labels of `result` from what the lines say.
void number_classes(LabelledObjects& result, const std::vector<Label>& labels,
                    const std::string& uri) {
  const auto numbered = [](const Label& label) { return label.number.has_value(); };
  if (std::ranges::none_of(labels, numbered)) {
    std::set<std::string> names;
    for (const Label& label : labels) names.insert(label.name);
    result.classes.assign(names.begin(), names.end());
    for (const Label& label : labels) {
      result.labels.push_back(std::ranges::lower_bound(result.classes, label.name) -
                              result.classes.begin());
    }
    return;
  }
  if (!std::ranges::all_of(labels, numbered)) {
    refuse(uri, "some classes in it are numbers and some are names; write one or the other");
  }
  std::map<std::int64_t, std::string> names;
  for (const Label& label : labels) {
    result.labels.push_back(*label.number);
    const auto [known, fresh] = names.emplace(*label.number, label.name);
    if (!fresh && known->second != label.name) {
      refuse(uri, fmt::format("class {} is called \"{}\" in one line and \"{}\" in another",
                              *label.number, known->second, label.name));
    }
  }
  const std::int64_t count = names.rbegin()->first + 1;
  const bool all_named =
      static_cast<std::int64_t>(names.size()) == count &&
      std::ranges::none_of(names, [](const auto& n) { return n.second.empty(); });
  for (std::int64_t i = 0; i < count; ++i) {
    result.classes.push_back(all_named ? names[i] : fmt::format("{}", i));
  }
}

std::unordered_map<std::string, ObjectInfo> sizes_of(ObjectStore& store,
                                                     const std::vector<std::string>& keys) {
  const std::unordered_set<std::string_view> wanted(keys.begin(), keys.end());
  std::unordered_map<std::string, ObjectInfo> found;
  store.list("", [&](std::vector<ObjectInfo> page) {
    for (ObjectInfo& object : page) {
      if (!wanted.contains(object.key)) continue;
      std::string key = object.key;
      found.emplace(std::move(key), std::move(object));
    }
  });
  for (const std::string& key : keys) {
    if (found.contains(key)) continue;
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}/{} is not there, which the channel's manifest file names ({} of {} "
                            "objects are missing)",
                            store.root().str(), key, keys.size() - found.size(), keys.size()));
  }
  return found;
}

/// The train channel's numbers for a validation channel's classes.
std::vector<std::int64_t> renumbered(const std::vector<std::string>& own,
                                     const std::vector<std::string>& train,
                                     const std::string& root) {
  std::vector<std::int64_t> numbers;
  for (const std::string& name : own) {
    const auto found = std::ranges::find(train, name);
    if (found == train.end()) {
      refuse(root, fmt::format("the train channel has no class {} among its {}; a validation "
                               "channel must have the same classes",
                               name, train.size()));
    }
    numbers.push_back(found - train.begin());
  }
  return numbers;
}

}  // namespace

ObjectList parse_manifest_file(std::string_view json, const std::string& uri) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  const bool has_prefix = document.is_array() && !document.empty() && document[0].is_object() &&
                          document[0].contains("prefix") && document[0]["prefix"].is_string();
  if (!has_prefix) {
    refuse(uri,
           "is no manifest file: it must be a JSON list that begins with {\"prefix\": "
           "\"s3://bucket/folder/\"}, then paths");
  }
  const auto prefix = document[0]["prefix"].get<std::string>();
  const std::size_t slash = prefix.rfind('/');
  ObjectList list;
  try {
    list.root = Uri::parse(prefix.substr(0, slash == std::string::npos ? 0 : slash + 1));
  } catch (const Error& error) {
    refuse(uri, fmt::format("its prefix: {}", error.what()));
  }
  const std::string rest = prefix.substr(slash + 1);
  for (std::size_t i = 1; i < document.size(); ++i) {
    if (!document[i].is_string() || document[i].get<std::string>().empty()) {
      refuse(uri, fmt::format("entry {} must be a path, not {}", i, document[i].dump()));
    }
    list.keys.push_back(rest + document[i].get<std::string>());
  }
  if (list.keys.empty()) refuse(uri, "names no object");
  check_unique(list.keys, uri);
  return list;
}

LabelledObjects parse_augmented_manifest(std::string_view lines, const std::string& uri,
                                         const std::vector<std::string>& attributes) {
  LabelledObjects result;
  std::vector<Label> labels;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', begin), lines.size());
    const std::string_view text = lines.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}, line {}", uri, number);
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object()) refuse(where, "must be a JSON object");
    const Uri source = source_of(line, attributes.at(0), where);
    if (result.objects.keys.empty()) result.objects.root = bucket_of(source);
    if (!(bucket_of(source) == result.objects.root)) {
      refuse(where, fmt::format("{} is in another bucket than the images before it, {}",
                                source.str(), result.objects.root.str()));
    }
    result.objects.keys.push_back(path_in_bucket(source));
    labels.push_back(label_of(line, attributes.at(1), where));
  }
  if (labels.empty()) refuse(uri, "names no object");
  check_unique(result.objects.keys, uri);
  number_classes(result, labels, uri);
  const std::size_t folder = common_folder(result.objects.keys);
  if (folder > 0) {
    result.objects.root =
        result.objects.root.join(result.objects.keys.front().substr(0, folder - 1));
    for (std::string& key : result.objects.keys) key.erase(0, folder);
  }
  return result;
}

Manifest listed_manifest(ObjectStore& store, const ObjectList& list,
                         const ManifestOptions& options) {
  auto found = sizes_of(store, list.keys);
  std::vector<ObjectInfo> objects;
  for (const std::string& key : list.keys) objects.push_back(std::move(found.at(key)));
  return make_manifest(store, options, std::move(objects));
}

Manifest labelled_manifest(ObjectStore& store, const LabelledObjects& labelled,
                           const ManifestOptions& options) {
  const auto found = sizes_of(store, labelled.objects.keys);
  std::vector<std::int64_t> numbers;
  if (options.classes) {
    numbers = renumbered(labelled.classes, *options.classes, store.root().str());
  }
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < labelled.objects.keys.size(); ++i) {
    const std::string& key = labelled.objects.keys[i];
    const std::int64_t label = labelled.labels[i];
    Sample sample;
    sample.key = key;
    sample.object = key;
    sample.size = found.at(key).size;
    sample.label = options.classes ? numbers[static_cast<std::size_t>(label)] : label;
    samples.push_back(std::move(sample));
  }
  std::ranges::sort(samples, {}, &Sample::key);
  Manifest manifest(options.classes.value_or(labelled.classes));
  const std::span<const Sample> all(samples);
  for (std::size_t at = 0; at < all.size(); at += kShardObjects) {
    manifest.add_shard(all.subspan(at, std::min(kShardObjects, all.size() - at)));
  }
  return manifest;
}

}  // namespace musher

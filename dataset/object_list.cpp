#include "dataset/object_list.h"

#include <algorithm>
#include <map>
#include <optional>
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

/// Length of the longest folder, with its slash, that all keys lie in.
std::size_t common_folder(const KeyList& keys) {
  std::string_view common = keys[0];
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string_view key = keys[i];
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

/// Numbers the classes of lines as they come; each name is held once.
class ClassNumbers {
 public:
  explicit ClassNumbers(std::string uri) : uri_(std::move(uri)) {}

  void add(const Label& label) {
    if (label.number) {
      any_number_ = true;
      labels_.push_back(*label.number);
      const auto [known, fresh] = names_.emplace(*label.number, label.name);
      if (!fresh && known->second != label.name) {
        refuse(uri_, fmt::format("class {} is called \"{}\" in one line and \"{}\" in another",
                                 *label.number, known->second, label.name));
      }
    } else {
      const auto next = static_cast<std::int64_t>(index_.size());
      labels_.push_back(index_.emplace(label.name, next).first->second);
    }
    if (any_number_ && !index_.empty()) {
      refuse(uri_, "some classes in it are numbers and some are names; write one or the other");
    }
  }

  /// Sets classes and labels of `result`. REQUIRES: there was a line.
  void finish(LabelledObjects& result) && {
    if (any_number_) {
      name_numbers(result.classes);
    } else {
      std::vector<std::int64_t> place(index_.size());
      for (const auto& [name, first_seen] : index_) {
        place[static_cast<std::size_t>(first_seen)] =
            static_cast<std::int64_t>(result.classes.size());
        result.classes.push_back(name);
      }
      for (std::int64_t& label : labels_) label = place[static_cast<std::size_t>(label)];
    }
    result.labels = std::move(labels_);
  }

 private:
  void name_numbers(std::vector<std::string>& classes) {
    const std::int64_t count = names_.rbegin()->first + 1;
    const bool all_named =
        static_cast<std::int64_t>(names_.size()) == count &&
        std::ranges::none_of(names_, [](const auto& n) { return n.second.empty(); });
    for (std::int64_t i = 0; i < count; ++i) {
      classes.push_back(all_named ? names_[i] : fmt::format("{}", i));
    }
  }

  std::string uri_;
  bool any_number_ = false;
  std::vector<std::int64_t> labels_;           ///< the number, or the name's place in index_
  std::map<std::int64_t, std::string> names_;  ///< of numbers
  std::map<std::string, std::int64_t> index_;  ///< names, in the order in which they came first
};

/// Which of the keys a listing has shown.
class Sought {
 public:
  explicit Sought(const KeyList& keys)
      : keys_(keys), order_(sorted_order(keys)), seen_(keys.size(), false) {}

  /// The index of a key that is sought.
  std::optional<std::size_t> find(std::string_view key) {
    const auto found =
        std::ranges::lower_bound(order_, key, {}, [&](std::uint32_t i) { return keys_[i]; });
    if (found == order_.end() || keys_[*found] != key) return std::nullopt;
    seen_[*found] = true;
    return *found;
  }

  /// Indexes in the order of the keys.
  const std::vector<std::uint32_t>& order() const { return order_; }

  void expect_all(const Uri& root) const {
    const auto missing = std::ranges::count(seen_, false);
    if (missing == 0) return;
    const auto first = std::ranges::find(seen_, false) - seen_.begin();
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("{}/{} is not there, which the channel's manifest file names ({} of {} "
                    "objects are missing)",
                    root.str(), keys_[static_cast<std::size_t>(first)], missing, keys_.size()));
  }

 private:
  const KeyList& keys_;
  const std::vector<std::uint32_t> order_;
  std::vector<bool> seen_;
};

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

LabelledObjects parse_augmented_manifest(std::string_view lines, const std::string& uri,
                                         const std::vector<std::string>& attributes) {
  LabelledObjects result;
  ClassNumbers classes(uri);
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
    if (result.objects.keys.size() == 0) result.objects.root = bucket_of(source);
    if (!(bucket_of(source) == result.objects.root)) {
      refuse(where, fmt::format("{} is in another bucket than the images before it, {}",
                                source.str(), result.objects.root.str()));
    }
    result.objects.keys.push_back(path_in_bucket(source));
    classes.add(label_of(line, attributes.at(1), where));
  }
  if (result.objects.keys.size() == 0) refuse(uri, "names no object");
  check_unique(result.objects.keys, uri);
  std::move(classes).finish(result);
  const std::size_t folder = common_folder(result.objects.keys);
  if (folder > 0) {
    result.objects.root = result.objects.root.join(result.objects.keys[0].substr(0, folder - 1));
    result.objects.keys.strip(folder);
  }
  return result;
}

Manifest listed_manifest(ObjectStore& store, const ObjectList& list,
                         const ManifestOptions& options) {
  Sought sought(list.keys);
  return make_manifest(
      store, options,
      {.wanted = [&](const ObjectInfo& object) { return sought.find(object.key).has_value(); },
       .listed = [&] { sought.expect_all(store.root()); }});
}

Manifest labelled_manifest(ObjectStore& store, const LabelledObjects& labelled,
                           const ManifestOptions& options) {
  std::vector<std::int64_t> numbers;
  if (options.classes) {
    numbers = renumbered(labelled.classes, *options.classes, store.root().str());
  }
  std::vector<std::uint64_t> sizes(labelled.objects.keys.size());
  Sought sought(labelled.objects.keys);
  store.list("", [&](const std::vector<ObjectInfo>& page) {
    for (const ObjectInfo& object : page) {
      if (const auto i = sought.find(object.key)) sizes[*i] = object.size;
    }
  });
  sought.expect_all(store.root());
  Manifest manifest(options.classes.value_or(labelled.classes));
  std::vector<Sample> shard;
  const auto flush = [&] {
    if (!shard.empty()) manifest.add_shard(shard);
    shard.clear();
  };
  for (const std::uint32_t i : sought.order()) {
    const std::int64_t label = labelled.labels[i];
    Sample& sample = shard.emplace_back();
    sample.key = labelled.objects.keys[i];
    sample.object = sample.key;
    sample.size = sizes[i];
    sample.label = options.classes ? numbers[static_cast<std::size_t>(label)] : label;
    if (shard.size() == kShardObjects) flush();
  }
  flush();
  return manifest;
}

}  // namespace musher

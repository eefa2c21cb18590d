#include "dataset/image_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::size_t kShardObjects = 256;

/// Label of each class's folder, and the manifest's classes.
struct Labels {
  std::vector<std::string> classes;
  std::map<std::string, std::int64_t, std::less<>> of;
};

Labels number(std::vector<std::string> classes) {
  Labels labels{.classes = std::move(classes), .of = {}};
  for (std::size_t i = 0; i < labels.classes.size(); ++i) {
    labels.of[labels.classes[i]] = static_cast<std::int64_t>(i);
  }
  return labels;
}

/// Appends samples to a manifest, 256 a shard.
class ShardFiller {
 public:
  explicit ShardFiller(Manifest& manifest) : manifest_(manifest) {}

  void add(std::string key, std::uint64_t size, std::int64_t label) {
    Sample sample;
    sample.size = size;
    sample.label = label;
    sample.object = key;
    sample.key = std::move(key);
    samples_.push_back(std::move(sample));
    if (samples_.size() == kShardObjects) flush();
  }
  void flush() {
    if (!samples_.empty()) manifest_.add_shard(samples_);
    samples_.clear();
  }

 private:
  Manifest& manifest_;
  std::vector<Sample> samples_;
};

}  // namespace

bool is_image_name(std::string_view name) {
  constexpr std::array<std::string_view, 4> kExtensions = {".jpg", ".jpeg", ".png", ".webp"};
  return std::ranges::any_of(kExtensions, [&](std::string_view extension) {
    if (name.size() < extension.size()) return false;
    const auto same = [](unsigned char a, unsigned char b) { return std::tolower(a) == b; };
    return std::ranges::equal(name.substr(name.size() - extension.size()), extension, same);
  });
}

bool ImageFolder::add(const ObjectInfo& object) {
  const std::size_t slash = object.key.find('/');
  if (slash == std::string::npos || slash == 0 || !is_image_name(object.key)) return false;
  const std::string_view name = std::string_view(object.key).substr(0, slash);
  if (!classes_.contains(name)) classes_.emplace(name);
  images_.add(object.key, object.size);
  return true;
}

Manifest ImageFolder::manifest(const Uri& root, const ManifestOptions& options) && {
  const Labels labels =
      number(options.classes.value_or(std::vector<std::string>(classes_.begin(), classes_.end())));
  for (const std::string& name : classes_) {
    if (labels.of.contains(name)) continue;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}/{}: the train channel has no class {} among its {}; a validation "
                            "channel must have the same classes",
                            root.str(), name, name, labels.classes.size()));
  }
  Manifest manifest(labels.classes);
  ShardFiller filler(manifest);
  SortedNames::Reader image(std::move(images_));
  while (image.next()) {
    const auto name = std::string_view(image.name()).substr(0, image.name().find('/'));
    filler.add(image.name(), image.number(), labels.of.find(name)->second);
  }
  filler.flush();
  return manifest;
}

}  // namespace musher

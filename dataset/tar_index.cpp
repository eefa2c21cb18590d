#include "dataset/tar_index.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "dataset/tar_reader.h"

namespace musher {
namespace {

/// More digits than any class has.
constexpr std::uint64_t kLongestClassFile = 64;
/// A .json beyond this is no description of a sample.
constexpr std::uint64_t kLongestJson = 1 << 20;
/// Where a .json has its sample's class, the first of them that is there.
constexpr std::array<const char*, 3> kClassFields = {"label", "class", "cls"};

/// A member's name by WebDataset's rule (base_plus_ext): the key ends at the first dot after the
/// last slash.
struct MemberName {
  std::string_view key;
  std::string extension;  ///< lower case, without the first dot; "seg.png" is one extension
};

/// `__index__/…`: WebDataset keeps its own notes under such names.
bool is_note(std::string_view name) {
  const std::string_view first = name.substr(0, name.find('/'));
  return first.size() >= 4 && first.starts_with("__") && first.ends_with("__");
}

std::optional<MemberName> split(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  const std::size_t base = slash == std::string_view::npos ? 0 : slash + 1;
  const std::size_t dot = name.find('.', base);
  if (dot == std::string_view::npos || dot == base || is_note(name)) return std::nullopt;
  MemberName parts{.key = name.substr(0, dot), .extension = std::string(name.substr(dot + 1))};
  for (char& c : parts.extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return parts;
}

std::string_view last_part(std::string_view extension) {
  return extension.substr(extension.rfind('.') + 1);  // all of it where there is no dot
}

bool is_image(std::string_view extension) {
  constexpr std::array<std::string_view, 4> kImages = {"jpg", "jpeg", "png", "webp"};
  return std::ranges::find(kImages, extension) != kImages.end();
}

/// A sample's class: a number, or a name.
struct Class {
  std::int64_t number = -1;
  std::string name;  ///< empty: it is the number
};

/// What was found of one key so far.
struct Group {
  std::string key;
  std::optional<Member> image;
  std::vector<Member> parts;  ///< images of a longer extension, as in `7.left.jpg`
  std::optional<Class> cls;   ///< of the .cls
  std::optional<Class> json;  ///< of the .json
  bool has_json = false;
};

/// White space around the number is fine: many a file ends in a line break.
std::optional<std::int64_t> parse_class(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  text = text.substr(0, text.find_last_not_of(kBlank) + 1);
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

[[noreturn]] void reject(const TarReader& reader, std::string_view key, std::string_view problem) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}: sample {} {}", reader.uri(), key, problem));
}

Class read_class(TarReader& reader, std::string_view key, const Member& member) {
  if (member.size <= kLongestClassFile) {
    if (const auto label = parse_class(reader.content(member)))
      return {.number = *label, .name = {}};
  }
  reject(
      reader, key,
      fmt::format("has a {} that is no class: it must hold a decimal number from 0", member.name));
}

/// Nothing where the .json does not speak of a class: it may be there for other things.
std::optional<Class> read_json(TarReader& reader, std::string_view key, const Member& member) {
  if (member.size > kLongestJson) return std::nullopt;
  const auto document =
      nlohmann::json::parse(reader.content(member), nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded())
    reject(reader, key, fmt::format("has a {} that is no JSON", member.name));
  if (!document.is_object()) return std::nullopt;
  for (const char* field : kClassFields) {
    const auto found = document.find(field);
    if (found == document.end()) continue;
    if (found->is_number_integer() && *found >= 0) {
      return Class{.number = found->get<std::int64_t>(), .name = {}};
    }
    if (found->is_string() && !found->get<std::string>().empty()) {
      const auto text = found->get<std::string>();
      const auto number = parse_class(text);
      return number ? Class{.number = *number, .name = {}} : Class{.number = -1, .name = text};
    }
    reject(reader, key,
           fmt::format("has a {} whose \"{}\" is no class: it must be a whole number from 0 or a "
                       "name, not {}",
                       member.name, field, found->dump()));
  }
  return std::nullopt;
}

void add_member(TarReader& reader, Group& group, Member member, std::string_view extension) {
  if (is_image(extension)) {
    if (group.image) {
      reject(reader, group.key,
             fmt::format("has two images, {} and {}", group.image->name, member.name));
    }
    group.image = std::move(member);
  } else if (is_image(last_part(extension))) {
    group.parts.push_back(std::move(member));
  } else if (extension == "cls") {
    if (group.cls) reject(reader, group.key, "has two .cls");
    group.cls = read_class(reader, group.key, member);
  } else if (extension == "json") {
    if (group.has_json) reject(reader, group.key, "has two .json");
    group.has_json = true;
    group.json = read_json(reader, group.key, member);
  }
}

/// The members by key, in the order in which the keys come first.
std::vector<Group> gather(TarReader& reader) {
  std::vector<Group> groups;
  std::unordered_map<std::string, std::size_t> index;
  while (auto member = reader.next()) {
    const auto name = split(member->name);
    if (!name) continue;
    const auto [entry, fresh] = index.try_emplace(std::string(name->key), groups.size());
    if (fresh) groups.emplace_back().key = entry->first;
    add_member(reader, groups[entry->second], std::move(*member), name->extension);
  }
  return groups;
}

/// The one image that the model is given; null where the key has none.
const Member* image_of(const TarReader& reader, const Group& group) {
  if (group.image) return &*group.image;
  if (group.parts.size() > 1) {
    reject(
        reader, group.key,
        fmt::format("has several images, {} and {}; call the one to train on {}.jpg (or .png, …)",
                    group.parts[0].name, group.parts[1].name, group.key));
  }
  return group.parts.empty() ? nullptr : group.parts.data();
}

/// Classes of a tar, which are all numbers or all names.
class Labels {
 public:
  std::int64_t of(const TarReader& reader, const Group& group) {
    const std::optional<Class>& found = group.cls ? group.cls : group.json;
    if (!found) {
      reject(reader, group.key,
             "has an image but no class: a .cls with its number, or a .json with a \"label\", "
             "\"class\" or \"cls\" (a number or a name)");
    }
    const bool named = !found->name.empty();
    if (samples_++ == 0) named_ = named;
    if (named != named_) {
      reject(
          reader, group.key,
          fmt::format("has the class {}, where others of the tar have {}; write one or the other",
                      named ? found->name : fmt::format("{}", found->number),
                      named ? "numbers" : "names"));
    }
    if (!named) return found->number;
    const auto [entry, fresh] = index_.try_emplace(found->name, names_.size());
    if (fresh) names_.push_back(found->name);
    return static_cast<std::int64_t>(entry->second);
  }
  std::vector<std::string> names() && { return std::move(names_); }

 private:
  std::uint64_t samples_ = 0;
  bool named_ = false;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace

TarIndex index_tar(ObjectStore& store, const ObjectInfo& tar) {
  TarReader reader(store, tar);
  TarIndex index;
  std::vector<Sample> samples;
  Labels labels;
  for (const Group& group : gather(reader)) {
    const Member* image = image_of(reader, group);
    if (image == nullptr) {
      ++index.keys_without_image;
      continue;
    }
    Sample sample;
    sample.offset = image->offset;
    sample.size = image->size;
    sample.label = labels.of(reader, group);
    sample.key = fmt::format("{}/{}", tar.key, group.key);
    sample.object = tar.key;
    index.largest_label = std::max(index.largest_label, sample.label);
    samples.push_back(std::move(sample));
  }
  index.names = std::move(labels).names();
  index.block = encode_shard(samples);
  return index;
}

}  // namespace musher

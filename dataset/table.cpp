#include "dataset/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

/// Rows that are listed and dealt together.
constexpr std::size_t kShardRows = 1024;
constexpr std::uint64_t kRangeBytes = 8 << 20;
/// A line beyond this is no row of numbers.
constexpr std::size_t kLongestLine = 8 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {}", where, what));
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

/// Calls `use(field, its place)` for what lies between the commas.
template <typename Use>
std::size_t for_each_field(std::string_view line, Use use) {
  std::size_t place = 0;
  while (true) {
    const std::size_t comma = std::min(line.find(','), line.size());
    use(trimmed(line.substr(0, comma)), place++);
    if (comma == line.size()) return place;
    line.remove_prefix(comma + 1);
  }
}

std::optional<double> number_from(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> numbered(std::size_t columns) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < columns; ++i) names.push_back(fmt::format("{}", i));
  return names;
}

std::vector<std::string> names_in(std::string_view line, const std::string& where) {
  std::vector<std::string> names;
  std::set<std::string_view> seen;
  for_each_field(line, [&](std::string_view field, std::size_t) {
    if (field.size() >= 2 && field.starts_with('"') && field.ends_with('"'))
      field = field.substr(1, field.size() - 2);
    if (field.empty() || !seen.insert(field).second) {
      refuse(where,
             fmt::format("names a column \"{}\", which must be a name that no other has", field));
    }
    names.emplace_back(field);
  });
  return names;
}

/// Calls `use(line, its offset)` for each line of an object, without its end, and reads it in
/// ranges.
void for_each_line(ObjectStore& store, const ObjectInfo& object,
                   const std::function<void(std::string_view, std::uint64_t)>& use) {
  std::string text;  // from `begin` of the object on
  std::uint64_t begin = 0;
  std::uint64_t read = 0;
  while (read < object.size) {
    const auto bytes = store.read(object.key, read, std::min(kRangeBytes, object.size - read));
    read += bytes.size();
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::size_t at = 0;
    for (std::size_t end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
      use(std::string_view(text).substr(at, end - at), begin + at);
    text.erase(0, at);
    begin += at;
    if (text.size() > kLongestLine) {
      refuse(store.root().join(object.key).str(),
             fmt::format("has a line of more than {} MiB", kLongestLine >> 20));
    }
  }
  if (!text.empty()) use(text, begin);
}

/// Gathers rows to shards, and sees to it that all files have the same columns.
class Rows {
 public:
  Rows(ObjectStore& store, const ManifestOptions& options)
      : store_(store),
        header_(std::get<TableLayout>(options.layout).header),
        columns_(options.classes.value_or(std::vector<std::string>())) {}

  void add_csv(const ObjectInfo& object) {
    const std::string where = store_.root().join(object.key).str();
    std::uint64_t number = 0;
    bool first = true;
    for_each_line(store_, object, [&](std::string_view line, std::uint64_t offset) {
      ++number;
      if (number == 1 && line.starts_with(kByteOrderMark)) {
        line.remove_prefix(kByteOrderMark.size());
        offset += kByteOrderMark.size();
      }
      const std::string_view text = trimmed(line);
      if (text.empty()) return;
      const bool names = std::exchange(first, false) && take_first_line(text, where);
      if (names) return;
      offset += static_cast<std::uint64_t>(text.data() - line.data());
      add(object.key, number, offset, text.size(), NumberType::kText);
    });
    flush();
  }

  void add_npy(const ObjectInfo& object) {
    const std::string where = store_.root().join(object.key).str();
    const NpyHeader header = read_npy_header(store_, object);
    if (header.shape.size() != 2 || header.shape[1] == 0) {
      refuse(where, fmt::format("must be an array of rows and columns, not one of {} dimensions",
                                header.shape.size()));
    }
    take_count(header.shape[1], where);
    const std::uint64_t size = header.shape[1] * number_size(header.type);
    for (std::uint64_t row = 0; row < header.shape[0]; ++row)
      add(object.key, row, header.data_offset + row * size, size, header.type);
    flush();
  }

  Manifest finish() && {
    Manifest manifest(columns_);
    for (const auto& block : blocks_) manifest.add_shard(decode_shard(block));
    return manifest;
  }

  bool empty() const { return blocks_.empty(); }

 private:
  /// True: it is no row.
  bool take_first_line(std::string_view text, const std::string& where) {
    if (header_) {
      std::vector<std::string> names = names_in(text, where);
      take_count(names.size(), where);
      if (!named_ && columns_ == numbered(columns_.size())) columns_ = names;
      named_ = true;
      if (columns_ != names) {
        refuse(where, "names other columns than the files before it, or than the train channel");
      }
      return true;
    }
    bool numbers = true;
    const std::size_t count = for_each_field(
        text, [&](std::string_view field, std::size_t) { numbers &= !!number_from(field); });
    if (!numbers) {
      refuse(where,
             "its first line is not of numbers; the hyperparameter csv_header must be true where "
             "it names the columns");
    }
    take_count(count, where);
    return false;
  }

  void take_count(std::size_t count, const std::string& where) {
    if (columns_.empty()) columns_ = numbered(count);
    if (columns_.size() == count) return;
    refuse(where, fmt::format("has {} columns, where the files before it, or the train channel, "
                              "have {}",
                              count, columns_.size()));
  }

  void add(const std::string& object, std::uint64_t number, std::uint64_t offset,
           std::uint64_t size, NumberType type) {
    Sample& sample = shard_.emplace_back();
    sample.key = fmt::format("{}/{}", object, number);
    sample.object = object;
    sample.offset = offset;
    sample.size = size;
    sample.label = static_cast<std::int64_t>(type);
    if (shard_.size() == kShardRows) flush();
  }

  void flush() {
    if (!shard_.empty()) blocks_.push_back(encode_shard(shard_));
    shard_.clear();
  }

  ObjectStore& store_;
  bool header_;
  bool named_ = false;
  std::vector<std::string> columns_;
  std::vector<Sample> shard_;
  std::vector<std::vector<std::byte>> blocks_;  ///< encoded, until all columns are known
};

std::vector<std::size_t> places_of(const std::vector<std::string>& columns,
                                   const std::vector<std::string>& wanted,
                                   const std::string& hyperparameter,
                                   std::set<std::size_t>& taken) {
  const std::string where = "HyperParameters." + hyperparameter;
  std::vector<std::size_t> places;
  for (const std::string& name : wanted) {
    const auto found = std::ranges::find(columns, name);
    if (found == columns.end()) {
      refuse(where, fmt::format("the train channel has no column \"{}\" among its {}, which are "
                                "\"{}\" to \"{}\"",
                                name, columns.size(), columns.front(), columns.back()));
    }
    const auto place = static_cast<std::size_t>(found - columns.begin());
    if (!taken.insert(place).second) {
      refuse(where, fmt::format("column \"{}\" is named twice: each is a target or a feature, once",
                                name));
    }
    places.push_back(place);
  }
  return places;
}

}  // namespace

Manifest table_manifest(ObjectStore& store, const std::vector<ObjectInfo>& objects,
                        const ManifestOptions& options) {
  Rows rows(store, options);
  std::uint64_t others = 0;
  for (const ObjectInfo& object : objects) {
    if (object.key.ends_with(".csv")) {
      rows.add_csv(object);
    } else if (object.key.ends_with(".npy")) {
      rows.add_npy(object);
    } else if (!object.key.empty() && !object.key.ends_with('/')) {
      ++others;
    }
  }
  const std::string root = store.root().str();
  if (rows.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{} has no samples: looked for rows in *.csv and *.npy; other files: "
                            "{}",
                            root, others));
  }
  if (others > 0 && options.notice)
    options.notice(fmt::format("{}: left out {} files that are no .csv or .npy", root, others));
  return std::move(rows).finish();
}

ColumnChoice choose_columns(const std::vector<std::string>& columns,
                            const std::vector<std::string>& features,
                            const std::vector<std::string>& targets) {
  std::set<std::size_t> taken;
  ColumnChoice choice;
  choice.targets = targets.empty() ? places_of(columns, {columns.front()}, "target_columns", taken)
                                   : places_of(columns, targets, "target_columns", taken);
  if (!features.empty()) {
    choice.features = places_of(columns, features, "feature_columns", taken);
  } else {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (!taken.contains(i)) choice.features.push_back(i);
    }
  }
  if (choice.features.empty()) {
    refuse("HyperParameters.target_columns",
           fmt::format("all {} columns are targets: none is left to learn from", columns.size()));
  }
  return choice;
}

void read_row(std::span<const std::byte> bytes, NumberType type, std::span<float> out) {
  const auto lose = [](const std::string& what) { throw Error(ErrorCode::kDataLoss, what); };
  const auto take = [&](std::size_t place, double value) {
    const auto number = static_cast<float>(value);
    if (!std::isfinite(number))
      lose(fmt::format("column {} is {}, which is no finite number", place, value));
    out[place] = number;
  };
  if (type == NumberType::kText) {
    const std::string_view line(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::size_t count = for_each_field(line, [&](std::string_view field, std::size_t place) {
      if (place >= out.size()) return;
      const auto value = number_from(field);
      if (!value) lose(fmt::format("column {} is \"{}\", which is no number", place, field));
      take(place, *value);
    });
    if (count != out.size())
      lose(fmt::format("has {} columns where the table has {}", count, out.size()));
    return;
  }
  if (bytes.size() != out.size() * number_size(type)) lose("is not as long as its columns");
  for (std::size_t i = 0; i < out.size(); ++i) take(i, number_at(bytes, type, i));
}

}  // namespace musher

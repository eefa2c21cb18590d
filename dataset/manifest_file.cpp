#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "dataset/object_list.h"

namespace musher {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, where + ": " + what);
}

/// Reads a manifest file value by value, so that its JSON never is in memory as a tree.
class ManifestFileReader : public nlohmann::json_sax<Json> {
 public:
  explicit ManifestFileReader(std::string uri) : uri_(std::move(uri)) {}

  bool null() override { return value("null"); }
  bool boolean(bool v) override { return value(v ? "true" : "false"); }
  bool number_integer(number_integer_t v) override { return value(fmt::format("{}", v)); }
  bool number_unsigned(number_unsigned_t v) override { return value(fmt::format("{}", v)); }
  bool number_float(number_float_t, const string_t& text) override { return value(text); }
  bool binary(binary_t&) override { return value("binary"); }
  bool string(string_t& text) override {
    if (entry_ == 0) {
      if (depth_ == 2 && in_prefix_) prefix_ = text;
      return depth_ == 2;
    }
    if (text.empty()) return value("\"\"");
    list_.keys.push_back(rest_ + text);
    ++entry_;
    return true;
  }
  bool start_object(std::size_t) override {
    if (entry_ > 0) return value("an object");
    return ++depth_ == 2;
  }
  bool key(string_t& name) override {
    in_prefix_ = name == "prefix";
    return true;
  }
  bool end_object() override {
    --depth_;
    if (!prefix_) return false;
    open(*prefix_);
    ++entry_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (entry_ > 0) return value("a list");
    return ++depth_ == 1;
  }
  bool end_array() override {
    --depth_;
    return entry_ > 0;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  [[noreturn]] void refuse_all() const {
    refuse(uri_,
           "is no manifest file: it must be a JSON list that begins with {\"prefix\": "
           "\"s3://bucket/folder/\"}, then paths");
  }

  ObjectList finish() && {
    if (list_.keys.size() == 0) refuse(uri_, "names no object");
    check_unique(list_.keys, uri_);
    return std::move(list_);
  }

 private:
  /// Anything but a string. What else the first entry has beside its prefix does not matter.
  bool value(const std::string& text) const {
    if (entry_ > 0) refuse(uri_, fmt::format("entry {} must be a path, not {}", entry_, text));
    return depth_ == 2 && !in_prefix_;
  }

  void open(const std::string& prefix) {
    const std::size_t slash = prefix.rfind('/');
    try {
      list_.root = Uri::parse(prefix.substr(0, slash == std::string::npos ? 0 : slash + 1));
    } catch (const Error& error) {
      refuse(uri_, fmt::format("its prefix: {}", error.what()));
    }
    rest_ = prefix.substr(slash + 1);
  }

  const std::string uri_;
  ObjectList list_;
  std::string rest_;         ///< of the prefix, behind its last slash
  std::uint64_t entry_ = 0;  ///< of the list: 0 is the prefix
  int depth_ = 0;
  bool in_prefix_ = false;
  std::optional<std::string> prefix_;
};

}  // namespace

ObjectList parse_manifest_file(std::string_view json, const std::string& uri) {
  ManifestFileReader reader(uri);
  if (!Json::sax_parse(json, &reader)) reader.refuse_all();
  return std::move(reader).finish();
}

}  // namespace musher

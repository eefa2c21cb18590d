#include <filesystem>
#include <limits>
#include <set>

#include <fmt/format.h>

#include "common/error.h"
#include "job/fields.h"
#include "job/limits.h"
#include "job/nearest.h"
#include "job/request.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 40) text = text.substr(0, 37) + "...";
  return text;
}

std::string_view kind(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "true or false";
  if (value.is_null()) return "null";
  return "a number";
}

/// JSON → message, by the descriptor: every error is taken down, and what is right is set.
class Reader {
 public:
  explicit Reader(RequestOrErrors& result) : result_(result) {}

  void message(const Json& json, Message& message, const std::string& path) {
    if (!json.is_object()) {
      return error(path, fmt::format("must be an object, not {}", kind(json)));
    }
    const Descriptor& descriptor = *message.GetDescriptor();
    for (const auto& [name, value] : json.items()) {
      const std::string at = join_path(path, name);
      result_.order.push_back(at);
      const FieldDescriptor* field = find(descriptor, name);
      const FieldFate fate = fate_of(at, value);
      if (fate.fate == Fate::kNotice)
        result_.notices.push_back({at, "changes nothing: " + fate.why});
      if (fate.fate == Fate::kRefused) {
        error(at, "Musher does not have it: " + fate.why + "; leave it out");
      } else if (field == nullptr) {
        if (!fate.listed) unknown(descriptor, name, at);
      } else if (!value.is_null()) {
        read(value, message, *field, at);
      }
    }
  }

  void error(const std::string& path, std::string message) {
    result_.errors.push_back({path, std::move(message)});
  }

 private:
  static const FieldDescriptor* find(const Descriptor& descriptor, std::string_view name) {
    for (int i = 0; i < descriptor.field_count(); ++i) {
      if (descriptor.field(i)->json_name() == name) return descriptor.field(i);
    }
    return nullptr;
  }

  void unknown(const Descriptor& descriptor, const std::string& name, const std::string& path) {
    std::vector<std::string> known;
    known.reserve(static_cast<std::size_t>(descriptor.field_count()));
    for (int i = 0; i < descriptor.field_count(); ++i)
      known.push_back(descriptor.field(i)->json_name());
    error(path, "is not a known field" + suggestion(name, known));
  }

  void read(const Json& value, Message& message, const FieldDescriptor& field,
            const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (field.is_map()) return map(value, message, field, path);
    if (field.is_repeated()) return list(value, message, field, path);
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return this->message(value, *reflection.MutableMessage(&message, &field), path);
      case FieldDescriptor::CPPTYPE_STRING:
        return string(value, message, field, path);
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64:
        return integer(value, message, field, path);
      case FieldDescriptor::CPPTYPE_BOOL:
        return boolean(value, message, field, path);
      case FieldDescriptor::CPPTYPE_ENUM:
        return enumerator(value, message, field, path);
      default:
        throw Error(ErrorCode::kInternal, fmt::format("{}: no JSON reader for this type", path));
    }
  }

  void list(const Json& value, Message& message, const FieldDescriptor& field,
            const std::string& path) {
    if (!value.is_array()) return error(path, fmt::format("must be a list, not {}", kind(value)));
    for (std::size_t i = 0; i < value.size(); ++i) {
      const std::string at = fmt::format("{}[{}]", path, i);
      result_.order.push_back(at);
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        if (!value[i].is_string()) {
          error(at, fmt::format("must be a string, not {}", kind(value[i])));
          continue;
        }
        message.GetReflection()->AddString(&message, &field, value[i].get<std::string>());
        continue;
      }
      this->message(value[i], *message.GetReflection()->AddMessage(&message, &field), at);
    }
  }

  /// The only maps of a request are from string to string.
  void map(const Json& value, Message& message, const FieldDescriptor& field,
           const std::string& path) {
    if (!value.is_object())
      return error(path, fmt::format("must be an object, not {}", kind(value)));
    for (const auto& [key, text] : value.items()) {
      const std::string at = join_path(path, key);
      result_.order.push_back(at);
      if (!text.is_string()) {
        const bool scalar = text.is_number() || text.is_boolean();
        error(at, scalar ? fmt::format("must be a string: write \"{}\"", shown(text))
                         : fmt::format("must be a string, not {}", kind(text)));
        continue;
      }
      Message& entry = *message.GetReflection()->AddMessage(&message, &field);
      const Descriptor& descriptor = *entry.GetDescriptor();
      entry.GetReflection()->SetString(&entry, descriptor.map_key(), key);
      entry.GetReflection()->SetString(&entry, descriptor.map_value(), text.get<std::string>());
    }
  }

  void string(const Json& value, Message& message, const FieldDescriptor& field,
              const std::string& path) {
    if (!value.is_string())
      return error(path, fmt::format("must be a string, not {}", kind(value)));
    const auto& text = value.get_ref<const std::string&>();
    if (text.empty()) return written_default(path, limit_problem(field, text));
    message.GetReflection()->SetString(&message, &field, text);
  }

  void integer(const Json& value, Message& message, const FieldDescriptor& field,
               const std::string& path) {
    if (!value.is_number_integer()) {
      return error(path, fmt::format("must be a whole number, not {}", shown(value)));
    }
    const bool wide = field.cpp_type() == FieldDescriptor::CPPTYPE_INT64;
    const std::int64_t max =
        wide ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int32_t>::max();
    const bool too_large = value.is_number_unsigned()
                               ? value.get<std::uint64_t>() > static_cast<std::uint64_t>(max)
                               : value.get<std::int64_t>() < -max - 1;
    if (too_large) {
      return error(path, fmt::format("must be a whole number from {} to {}, not {}", -max - 1, max,
                                     shown(value)));
    }
    const auto number = value.get<std::int64_t>();
    if (number == 0) return written_default(path, limit_problem(field, number));
    const Reflection& reflection = *message.GetReflection();
    if (wide) {
      reflection.SetInt64(&message, &field, number);
    } else {
      reflection.SetInt32(&message, &field, static_cast<std::int32_t>(number));
    }
  }

  void boolean(const Json& value, Message& message, const FieldDescriptor& field,
               const std::string& path) {
    if (!value.is_boolean()) {
      return error(path, fmt::format("must be true or false, not {}", shown(value)));
    }
    message.GetReflection()->SetBool(&message, &field, value.get<bool>());
  }

  /// proto3 can't tell a 0 or "" that was written from none, so the limits that it breaks are found
  /// here.
  void written_default(const std::string& path, const std::string& problem) {
    if (!problem.empty()) error(path, problem);
  }

  void enumerator(const Json& value, Message& message, const FieldDescriptor& field,
                  const std::string& path) {
    const auto& type = *field.enum_type();
    const auto* chosen =
        value.is_string() ? type.FindValueByName(value.get_ref<const std::string&>()) : nullptr;
    if (chosen == nullptr || chosen->number() == 0) {  // "unspecified" is not SageMaker's
      return error(path,
                   fmt::format("must be one of {}, not {}", enum_choices(type), shown(value)));
    }
    message.GetReflection()->SetEnum(&message, &field, chosen);
  }

  RequestOrErrors& result_;
};

/// Takes down each name that an object has twice, where JSON readers disagree on which counts.
class Duplicates {
 public:
  explicit Duplicates(RequestOrErrors& result) : result_(result) {}

  bool operator()(int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open_.emplace_back();
    if (event == Json::parse_event_t::object_end) open_.pop_back();
    if (event == Json::parse_event_t::key && !open_.empty()) {
      const auto name = parsed.get<std::string>();
      if (!open_.back().insert(name).second) {
        result_.errors.push_back({name, "is there twice in the same object"});
      }
    }
    return true;
  }

 private:
  RequestOrErrors& result_;
  std::vector<std::set<std::string>> open_;
};

/// "line 3, column 7" and what is wrong there, out of the library's message.
JobError syntax_error(const std::string& what) {
  constexpr std::string_view kBegin = "parse error at ";
  const std::size_t begin = what.find(kBegin);
  if (begin == std::string::npos) return {"", what};
  const std::size_t place = begin + kBegin.size();
  const std::size_t end = what.find(": ", place);
  if (end == std::string::npos) return {"", what.substr(begin)};
  return {what.substr(place, end - place), what.substr(end + 2)};
}

/// `file://./data` → `file:///where/the/job/file/is/data`.
void resolve(std::string& uri, const std::string& folder) {
  constexpr std::string_view kRelative = "file://./";
  if (folder.empty() || !uri.starts_with(kRelative)) return;
  const auto path = std::filesystem::absolute(folder) / uri.substr(kRelative.size());
  uri = "file://" + path.lexically_normal().string();
}

void resolve_uris(v1::CreateTrainingJobRequest& request, const std::string& folder) {
  for (auto& channel : *request.mutable_input_data_config()) {
    if (channel.data_source().has_s3_data_source()) {
      resolve(*channel.mutable_data_source()->mutable_s3_data_source()->mutable_s3_uri(), folder);
    }
  }
  if (request.has_output_data_config()) {
    resolve(*request.mutable_output_data_config()->mutable_s3_output_path(), folder);
  }
  if (request.has_checkpoint_config()) {
    resolve(*request.mutable_checkpoint_config()->mutable_s3_uri(), folder);
  }
  for (auto& [name, value] : *request.mutable_hyper_parameters()) resolve(value, folder);
}

}  // namespace

RequestOrErrors request_from_json(const std::string& json, const std::string& folder) {
  RequestOrErrors result;
  Json parsed;
  try {
    parsed = Json::parse(json, Duplicates(result));
  } catch (const Json::exception& e) {
    result.errors = {syntax_error(e.what())};
    return result;
  }
  Reader(result).message(parsed, result.request, "");
  resolve_uris(result.request, folder);
  return result;
}

}  // namespace musher

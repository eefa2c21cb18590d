#include <cmath>
#include <cstdlib>
#include <map>

#include <fmt/format.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/time_util.h>

#include "common/error.h"
#include "job/request.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Timestamp;

/// As many digits as the number has; what JSON has no number for is a string, as in protobuf's own
/// mapping.
Json real(double value, bool single) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (!single) return value;
  return std::strtod(fmt::format("{}", static_cast<float>(value)).c_str(), nullptr);
}

Json message_value(const Message& message) {
  if (message.GetDescriptor()->full_name() == "google.protobuf.Timestamp") {
    Timestamp time;
    time.CopyFrom(message);
    return google::protobuf::util::TimeUtil::ToString(time);
  }
  return to_json(message);
}

Json enum_value(const google::protobuf::EnumDescriptor& type, int number) {
  const auto* value = type.FindValueByNumber(number);
  return value == nullptr ? Json(number) : Json(value->name());
}

Json single(const Message& message, const FieldDescriptor& field) {
  const Reflection& r = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return r.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return r.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return r.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return r.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return r.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return real(r.GetFloat(message, &field), true);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return real(r.GetDouble(message, &field), false);
    case FieldDescriptor::CPPTYPE_STRING:
      return r.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return enum_value(*field.enum_type(), r.GetEnumValue(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return message_value(r.GetMessage(message, &field));
  }
  return nullptr;
}

Json element(const Message& message, const FieldDescriptor& field, int i) {
  const Reflection& r = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return r.GetRepeatedString(message, &field, i);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return message_value(r.GetRepeatedMessage(message, &field, i));
    case FieldDescriptor::CPPTYPE_INT32:
      return r.GetRepeatedInt32(message, &field, i);
    case FieldDescriptor::CPPTYPE_UINT32:
      return r.GetRepeatedUInt32(message, &field, i);
    default:
      break;
  }
  throw Error(ErrorCode::kInternal, field.full_name() + ": no JSON writer for lists of this type");
}

/// Sorted by key, so that the same message gives the same text. Values of the maps there are:
/// strings.
Json map_value(const Message& message, const FieldDescriptor& field) {
  std::map<std::string, Json> entries;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    const Message& entry = message.GetReflection()->GetRepeatedMessage(message, &field, i);
    const auto& descriptor = *entry.GetDescriptor();
    entries.emplace(entry.GetReflection()->GetString(entry, descriptor.map_key()),
                    single(entry, *descriptor.map_value()));
  }
  Json result = Json::object();
  for (auto& [key, value] : entries) result[key] = std::move(value);
  return result;
}

Json list_value(const Message& message, const FieldDescriptor& field) {
  Json result = Json::array();
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    result.push_back(element(message, field, i));
  }
  return result;
}

bool floating(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
}

/// SageMaker's ListTrainingJobs always has its list. An empty map or other list is left out.
bool always_written(const FieldDescriptor& field) {
  return field.json_name() == "TrainingJobSummaries";
}

}  // namespace

nlohmann::ordered_json to_json(const Message& message) {
  Json result = Json::object();
  const auto& descriptor = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.is_repeated()) {
      if (reflection.FieldSize(message, &field) == 0 && !always_written(field)) continue;
      result[field.json_name()] =
          field.is_map() ? map_value(message, field) : list_value(message, field);
    } else if (reflection.HasField(message, &field) || floating(field)) {
      // A metric of 0 is a value, not an absent one.
      result[field.json_name()] = single(message, field);
    }
  }
  return result;
}

}  // namespace musher

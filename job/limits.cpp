#include "job/limits.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <regex>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "job/nearest.h"

namespace musher {
namespace {

constexpr std::int64_t kDays28 = 28 * std::int64_t{86'400};  // in seconds

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

/// Of a number its range, of a string its length in characters, of a list or map its count.
struct Limit {
  std::int64_t min = 0;
  std::int64_t max = kNoLimit;
  bool required = false;
  std::string pattern = {};
  std::string words = {};  ///< the pattern, for people
};

using Table = std::unordered_map<std::string, Limit>;

/// SageMaker's own, by the message's and the field's name in the .proto file. Where a real
/// SageMaker requires what one's own machines do not need (RoleArn, InstanceType, …) it is not
/// required here.
const Table& table() {
  static const Table limits = {
      {"CreateTrainingJobRequest.training_job_name",
       {1, 63, true, "[a-zA-Z0-9](-*[a-zA-Z0-9])*",
        "letters, digits and hyphens, with a letter or digit at both ends"}},
      {"CreateTrainingJobRequest.hyper_parameters", {0, 100}},
      {"CreateTrainingJobRequest.HyperParametersEntry.key", {0, 256}},
      {"CreateTrainingJobRequest.HyperParametersEntry.value", {0, 2500}},
      {"CreateTrainingJobRequest.role_arn",
       {20, 2048, false, R"(arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+)",
        "an ARN such as arn:aws:iam::123456789012:role/name"}},
      {"CreateTrainingJobRequest.input_data_config", {1, 20, true}},
      {"CreateTrainingJobRequest.output_data_config", {0, kNoLimit, true}},
      {"CreateTrainingJobRequest.environment", {0, 100}},
      {"CreateTrainingJobRequest.EnvironmentEntry.key",
       {1, 512, false, "[a-zA-Z_][a-zA-Z0-9_]*", "letters, digits and _, with no digit first"}},
      {"CreateTrainingJobRequest.EnvironmentEntry.value", {0, 512}},
      {"CreateTrainingJobRequest.tags", {0, 50}},
      {"AlgorithmSpecification.training_image", {0, 255}},
      {"AlgorithmSpecification.algorithm_name", {1, 170}},
      {"AlgorithmSpecification.metric_definitions", {0, 40}},
      {"MetricDefinition.name", {1, 255, true}},
      {"MetricDefinition.regex", {1, 500, true}},
      {"Channel.channel_name",
       {1, 64, true, R"([A-Za-z0-9.\-_]+)", "letters, digits, '.', '-' and '_'"}},
      {"Channel.data_source", {0, kNoLimit, true}},
      {"Channel.content_type", {0, 256}},
      {"DataSource.s3_data_source", {0, kNoLimit, true}},
      {"S3DataSource.s3_uri", {1, 1024, true}},
      {"OutputDataConfig.s3_output_path", {1, 1024, true}},
      {"ResourceConfig.instance_type", {0, 64}},
      {"ResourceConfig.instance_count", {1, 10'000}},
      {"ResourceConfig.volume_size_in_gb", {1, 1'000'000}},
      {"ResourceConfig.keep_alive_period_in_seconds", {0, 21'600}},
      {"StoppingCondition.max_pending_time_in_seconds", {1800, kDays28}},
      {"StoppingCondition.max_runtime_in_seconds", {1, kDays28}},
      {"StoppingCondition.max_wait_time_in_seconds", {1, std::numeric_limits<std::int32_t>::max()}},
      {"CheckpointConfig.s3_uri", {1, 1024, true}},
      {"CheckpointConfig.local_path", {0, 4096}},
      {"RetryStrategy.maximum_retry_attempts", {1, 30, true}},
      {"Tag.key", {1, 128, true}},
      {"Tag.value", {0, 256}},
  };
  return limits;
}

const Limit* limit_of(const FieldDescriptor& field) {
  constexpr std::string_view kPackage = "musher.v1.";
  const auto found = table().find(field.full_name().substr(kPackage.size()));
  return found == table().end() ? nullptr : &found->second;
}

std::int64_t characters(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::string range_words(const Limit& limit, std::string_view unit) {
  if (limit.min == 0) return fmt::format("at most {}{}", limit.max, unit);
  return fmt::format("{} to {}{}", limit.min, limit.max, unit);
}

/// Walks one message and what it holds.
class Walk {
 public:
  explicit Walk(std::vector<JobError>& errors) : errors_(errors) {}

  void message(const Message& message, const std::string& path) {
    const auto* descriptor = message.GetDescriptor();
    const auto& unknown = message.GetReflection()->GetUnknownFields(message);
    for (int i = 0; i < unknown.field_count(); ++i) {
      errors_.push_back({path, fmt::format("has a field, number {}, that this version does not "
                                           "know: are both sides of the same version?",
                                           unknown.field(i).number())});
    }
    for (int i = 0; i < descriptor->field_count(); ++i) {
      field(message, *descriptor->field(i), join_path(path, descriptor->field(i)->json_name()));
    }
  }

 private:
  void field(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (field.is_repeated()) return list(message, field, path);
    if (!reflection.HasField(message, &field)) {
      const Limit* limit = limit_of(field);
      if (limit != nullptr && limit->required) errors_.push_back({path, "is required"});
      return;
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      this->message(reflection.GetMessage(message, &field), path);
    } else {
      scalar(message, field, path);
    }
  }

  void list(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const int size = reflection.FieldSize(message, &field);
    const Limit* limit = limit_of(field);
    if (limit != nullptr && size == 0 && limit->required) {
      errors_.push_back({path, "is required"});
    } else if (limit != nullptr && (size < limit->min || size > limit->max)) {
      errors_.push_back(
          {path, fmt::format("must have {}, not {}", range_words(*limit, " entries"), size)});
    }
    for (int i = 0; i < size; ++i) {
      if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE)
        break;  // no limits but their number
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      if (field.is_map()) {
        map_entry(entry, path);
      } else {
        this->message(entry, fmt::format("{}[{}]", path, i));
      }
    }
  }

  void map_entry(const Message& entry, const std::string& path) {
    const auto* descriptor = entry.GetDescriptor();
    const Reflection& reflection = *entry.GetReflection();
    const std::string key = reflection.GetString(entry, descriptor->map_key());
    const std::string at = join_path(path, key);
    add(at, limit_problem(*descriptor->map_key(), key), "name ");
    add(at, limit_problem(*descriptor->map_value(),
                          reflection.GetString(entry, descriptor->map_value())));
  }

  void scalar(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return add(path, limit_problem(field, reflection.GetString(message, &field)));
      case FieldDescriptor::CPPTYPE_INT32:
        return add(path, limit_problem(field, reflection.GetInt32(message, &field)));
      case FieldDescriptor::CPPTYPE_INT64:
        return add(path, limit_problem(field, reflection.GetInt64(message, &field)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return enumerator(reflection.GetEnumValue(message, &field), *field.enum_type(), path);
      default:
        return;
    }
  }

  void enumerator(int number, const google::protobuf::EnumDescriptor& type,
                  const std::string& path) {
    if (type.FindValueByNumber(number) != nullptr) return;
    errors_.push_back({path, fmt::format("must be one of {}, not an enum value of number {}",
                                         enum_choices(type), number)});
  }

  void add(const std::string& path, const std::string& problem, std::string_view prefix = "") {
    if (!problem.empty()) errors_.push_back({path, fmt::format("{}{}", prefix, problem)});
  }

  std::vector<JobError>& errors_;
};

}  // namespace

std::string limit_problem(const FieldDescriptor& field, std::string_view value) {
  const Limit* limit = limit_of(field);
  if (limit == nullptr) return {};
  const std::int64_t length = characters(value);
  if (length < limit->min || length > limit->max) {
    return fmt::format("must have {}, not {}", range_words(*limit, " characters"), length);
  }
  if (limit->pattern.empty()) return {};
  const bool matches = std::regex_match(value.begin(), value.end(), std::regex(limit->pattern));
  return matches ? std::string()
                 : fmt::format("must be {}, not {}", limit->words, in_quotes(value));
}

std::string limit_problem(const FieldDescriptor& field, std::int64_t value) {
  const Limit* limit = limit_of(field);
  if (limit == nullptr || (value >= limit->min && value <= limit->max)) return {};
  return fmt::format("must be {}, not {}", range_words(*limit, ""), value);
}

std::string enum_choices(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    // "unspecified" is not SageMaker's.
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

void check_limits(const v1::CreateTrainingJobRequest& request, std::vector<JobError>& errors) {
  Walk(errors).message(request, "");
}

std::string join_path(const std::string& path, std::string_view name) {
  return path.empty() ? readable(name) : fmt::format("{}.{}", path, readable(name));
}

}  // namespace musher

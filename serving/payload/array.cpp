#include "serving/payload/array.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace musher {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxDepth = 8;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

/// Appends the numbers below `json`, which must have the shape that its first entries have.
void flatten(const Json& json, std::size_t depth, Array& array) {
  if (!json.is_array()) {
    if (!json.is_number()) refuse("the instance must hold numbers alone, not " + json.dump());
    if (depth != array.shape.size()) refuse("the lists of the instance differ in depth");
    array.values.push_back(json.get<float>());
    return;
  }
  if (depth >= array.shape.size()) refuse("the lists of the instance differ in depth");
  if (static_cast<std::int64_t>(json.size()) != array.shape[depth])
    refuse("the lists of the instance differ in length");
  for (const Json& entry : json) flatten(entry, depth + 1, array);
}

Array array_of(const Json& json) {
  Array array;
  const Json* first = &json;
  while (first->is_array()) {
    if (array.shape.size() == kMaxDepth) refuse("the instance has more than 8 dimensions");
    array.shape.push_back(static_cast<std::int64_t>(first->size()));
    if (first->empty()) refuse("the instance holds an empty list");
    first = &first->front();
  }
  flatten(json, 0, array);
  return array;
}

}  // namespace

std::variant<Array, UrlInstance> read_json_instance(std::string_view text) {
  // Depth bounded before the parser builds anything: its own destructor is what a deep text hurts.
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    if (depth > static_cast<int>(kMaxDepth) + 2) refuse("the body is nested too deeply");
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, shallow);
  } catch (const Json::exception& error) {
    refuse(fmt::format("the body is not JSON: {}", error.what()));
  }
  if (json.is_array()) return array_of(json);
  if (!json.is_object() || json.size() != 1) {
    refuse("the body must be an instance, {\"instances\": [instance]} or {\"url\": \"s3://…\"}");
  }
  if (json.contains("url")) {
    if (!json["url"].is_string()) refuse("\"url\" must be a string");
    return UrlInstance{json["url"].get<std::string>()};
  }
  if (!json.contains("instances")) {
    refuse("the body must be an instance, {\"instances\": [instance]} or {\"url\": \"s3://…\"}");
  }
  const Json& instances = json["instances"];
  if (!instances.is_array() || instances.size() != 1)
    refuse("\"instances\" must be a list of one instance");
  return array_of(instances.front());
}

Array one_sample(Array array, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> given = array.shape;
  if (given.size() == shape.size() + 1 && given.front() == 1) given.erase(given.begin());
  if (given != shape) {
    refuse(fmt::format("the instance must have the shape [{}], not [{}]", fmt::join(shape, ", "),
                       fmt::join(array.shape, ", ")));
  }
  array.shape = std::move(given);
  for (const float value : array.values) {
    if (!std::isfinite(value)) refuse("the instance holds a number that is not finite");
  }
  return array;
}

}  // namespace musher

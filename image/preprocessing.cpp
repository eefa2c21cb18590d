#include "image/preprocessing.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace musher {
namespace {

/// Into `value`, which stays as it is where the member is not there.
template <typename T>
void take(const nlohmann::json& json, const char* member, T& value) {
  const auto found = json.find(member);
  if (found == json.end()) return;
  try {
    found->get_to(value);
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("preprocessing.json: \"{}\" can't be {}", member, found->dump()));
  }
}

}  // namespace

std::string preprocessing_json(const ImageTransform& transform) {
  const nlohmann::ordered_json json = {{"format", "image"},
                                       {"size", transform.size},
                                       {"resize_size", transform.resize_size},
                                       {"channels", transform.channels},
                                       {"mean", transform.mean},
                                       {"std", transform.std},
                                       {"jpeg_scaled_decode", transform.scaled_decode}};
  return json.dump(2);
}

ImageTransform parse_preprocessing(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    throw Error(ErrorCode::kInvalidArgument, "preprocessing.json must hold a JSON object");
  }
  std::string format;
  take(json, "format", format);
  if (format != "image") {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("preprocessing.json: \"format\" must be \"image\", not \"{}\"", format));
  }
  ImageTransform transform;
  for (const char* member : {"size", "channels", "mean", "std"}) {
    if (!json.contains(member)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("preprocessing.json: \"{}\" is missing", member));
    }
  }
  take(json, "size", transform.size);
  take(json, "resize_size", transform.resize_size);
  take(json, "channels", transform.channels);
  take(json, "mean", transform.mean);
  take(json, "std", transform.std);
  take(json, "jpeg_scaled_decode", transform.scaled_decode);
  return transform;
}

}  // namespace musher

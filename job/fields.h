#pragma once

#include <string>

#include <nlohmann/json.hpp>

/// What becomes of each field of SageMaker's CreateTrainingJob that does not simply act. Private to
/// job/. docs/sagemaker.md has the whole table, and a test that holds it against SageMaker's own
/// model.
namespace musher {

enum class Fate {
  kActs,     ///< does what it does in SageMaker
  kNotice,   ///< changes nothing here, and a notice says so
  kRefused,  ///< an error: to ignore it would be to promise what is not kept
};

struct FieldFate {
  Fate fate = Fate::kActs;
  std::string why;      ///< of a notice or an error; ends without a full stop
  bool listed = false;  ///< it has a row in the table
};

/// By path, with or without indices: `InputDataConfig[0].CompressionType`. A value that asks for
/// nothing (false, "", [], or the name of what Musher does anyway) acts, whatever the field.
FieldFate fate_of(const std::string& path, const nlohmann::ordered_json& value);

}  // namespace musher

#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "model/model.h"
#include "storage/object_store.h"

namespace musher {

/// `model.tar.gz`: the weights as `model.safetensors` (TorchScript models: `model.pt`),
/// `classes.json` (a list of names), `preprocessing.json`, `metrics.json`, `musher.json` (format
/// version, model name, input shape). docs/formats.md
struct ArtifactContents {
  std::string model_name;
  std::vector<std::int64_t> input_shape;
  std::vector<std::string> classes;
  std::string preprocessing_json;
  std::string metrics_json;
};

/// Writes and then commits it whole, or leaves nothing. Byte-identical for the same contents.
void write_artifact(ObjectStore& store, const std::string& key, Model& model,
                    const ArtifactContents& contents);

}  // namespace musher

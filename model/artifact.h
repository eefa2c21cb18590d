#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "storage/object_store.h"

namespace musher {

/// `model.tar.gz`: the weights as `model.safetensors` (TorchScript models: `model.pt`),
/// `classes.json` (a list of names), `preprocessing.json`, `metrics.json`, `musher.json` (format
/// version, model name, input shape, number of outputs, widths of the head). docs/formats.md
struct ArtifactContents {
  std::string model_name;
  std::vector<std::int64_t> input_shape;
  std::vector<std::string> classes;  ///< names, by index
  std::string preprocessing_json;
  std::string metrics_json;
  std::int64_t num_classes = 0;                ///< outputs of the model; 0: as many as `classes`
  std::vector<std::int64_t> head_widths = {};  ///< as in ModelSpec
};

/// Writes and then commits it whole, or leaves nothing. Byte-identical for the same contents.
void write_artifact(ObjectStore& store, const std::string& key, Model& model,
                    const ArtifactContents& contents);

/// A model that is ready to answer: in evaluation mode, on the CPU, with the weights of the file.
struct LoadedArtifact {
  std::unique_ptr<Model> model;
  ArtifactContents contents;
};

/// Reads what write_artifact() wrote; files that it does not know are passed over. kDataLoss for an
/// archive that is damaged or cut off, kInvalidArgument for one that holds something else, each
/// with the archive's URI and the file in it.
LoadedArtifact load_artifact(ObjectStore& store, const std::string& key);
/// The same from the archive's bytes; `name` is its URI.
LoadedArtifact load_artifact(std::span<const std::byte> archive, const std::string& name);

}  // namespace musher

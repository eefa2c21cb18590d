#include "model/artifact.h"

#include <nlohmann/json.hpp>

#include "model/archive.h"
#include "model/weights.h"

namespace musher {
namespace {

constexpr int kFormatVersion = 1;

NamedTensors state_of(Model& model) {
  NamedTensors tensors = model.parameters();
  for (auto& buffer : model.buffers()) tensors.push_back(std::move(buffer));
  return tensors;
}

void add_script(TarGzWriter& archive, const Model& model) {
  // A tar entry begins with its size: written once to count, once to keep, rather than held in
  // memory.
  std::uint64_t size = 0;
  model.write_script([&](std::span<const std::byte> bytes) { size += bytes.size(); });
  archive.add("model.pt", size, [&](const ByteSink& sink) { model.write_script(sink); });
}

void add_weights(TarGzWriter& archive, Model& model) {
  const auto tensors = state_of(model);
  const std::map<std::string, std::string> metadata{{"format", "pt"}};
  archive.add("model.safetensors", safetensors_size(tensors, metadata),
              [&](const ByteSink& sink) { write_safetensors(tensors, metadata, sink); });
}

std::string description(const Model& model, const ArtifactContents& contents) {
  const nlohmann::ordered_json json = {
      {"format_version", kFormatVersion},
      {"model", contents.model_name},
      {"weights", model.is_script() ? "model.pt" : "model.safetensors"},
      {"input_shape", contents.input_shape},
      {"classes", contents.classes.size()},
      {"num_classes", contents.num_classes > 0
                          ? contents.num_classes
                          : static_cast<std::int64_t>(contents.classes.size())},
      {"head_widths", contents.head_widths}};
  return json.dump(2) + "\n";
}

}  // namespace

void write_artifact(ObjectStore& store, const std::string& key, Model& model,
                    const ArtifactContents& contents) {
  const auto writer = store.writer(key);
  TarGzWriter archive([&](std::span<const std::byte> bytes) { writer->write(bytes); });
  archive.add("musher.json", description(model, contents));
  archive.add("classes.json", nlohmann::json(contents.classes).dump(2) + "\n");
  archive.add("preprocessing.json", contents.preprocessing_json);
  archive.add("metrics.json", contents.metrics_json);
  if (model.is_script()) {
    add_script(archive, model);
  } else {
    add_weights(archive, model);
  }
  archive.finish();
  writer->commit();
}

}  // namespace musher

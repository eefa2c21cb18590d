#include <fstream>
#include <map>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/temporary_file.h"
#include "model/archive_reader.h"
#include "model/artifact.h"
#include "model/weights.h"

namespace musher {
namespace {

using Json = nlohmann::json;

/// The files of one archive, by name.
class Files {
 public:
  Files(ArchiveFiles files, std::string archive)
      : files_(std::move(files)), archive_(std::move(archive)) {}

  const std::vector<std::byte>& bytes(const std::string& name) const {
    const auto found = files_.find(name);
    if (found == files_.end()) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{} has no {}: it must be the model.tar.gz of a Musher job", archive_, name));
    }
    return found->second;
  }
  std::string text(const std::string& name) const {
    const auto& content = bytes(name);
    return {reinterpret_cast<const char*>(content.data()), content.size()};
  }
  Json json(const std::string& name) const {
    Json parsed = Json::parse(text(name), nullptr, /*allow_exceptions=*/false);
    if (parsed.is_discarded()) refuse(name, "is not JSON");
    return parsed;
  }
  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {} {}", archive_, name, why));
  }

 private:
  ArchiveFiles files_;
  std::string archive_;
};

/// What musher.json says beside the contents that it shares with other files.
struct Description {
  std::string weights;
  ArtifactContents contents;
};

Description read_description(const Files& files) {
  constexpr const char* kName = "musher.json";
  const Json json = files.json(kName);
  Description description;
  ArtifactContents& contents = description.contents;
  try {
    if (json.at("format_version").get<int>() != 1) {
      files.refuse(kName, "is of a format version that this Musher does not know, " +
                              json.at("format_version").dump());
    }
    json.at("model").get_to(contents.model_name);
    json.at("weights").get_to(description.weights);
    json.at("input_shape").get_to(contents.input_shape);
    // Archives from before these members existed had models without either.
    contents.num_classes = json.value("num_classes", json.at("classes").get<std::int64_t>());
    contents.head_widths = json.value("head_widths", std::vector<std::int64_t>{});
    files.json("classes.json").get_to(contents.classes);
  } catch (const Json::exception& error) {
    files.refuse(kName, fmt::format("or classes.json is not as it must be: {}", error.what()));
  }
  contents.preprocessing_json = files.text("preprocessing.json");
  contents.metrics_json = files.text("metrics.json");
  return description;
}

std::unique_ptr<Model> script_model(const Files& files, ModelSpec spec,
                                    const std::string& archive) {
  const TemporaryFile file;
  const auto& bytes = files.bytes("model.pt");
  std::ofstream out(file.path(), std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) {
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{}: model.pt can't be unpacked to {}", archive, file.path()));
  }
  spec.name = file.path();
  try {
    return make_model(spec);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: model.pt: {}", archive, error.what()));
  }
}

}  // namespace

LoadedArtifact load_artifact(ObjectStore& store, const std::string& key) {
  return load_artifact(store.read(key), store.root().join(key).str());
}

LoadedArtifact load_artifact(std::span<const std::byte> bytes, const std::string& archive) {
  const Files files(read_tar_gz(bytes,
                                {"musher.json", "classes.json", "preprocessing.json",
                                 "metrics.json", "model.safetensors", "model.pt"},
                                archive),
                    archive);
  Description description = read_description(files);
  const ModelSpec spec = {.name = description.contents.model_name,
                          .classes = description.contents.num_classes,
                          .input_shape = description.contents.input_shape,
                          .seed = 0,
                          .head_widths = description.contents.head_widths};
  LoadedArtifact loaded;
  if (description.weights == "model.pt") {
    loaded.model = script_model(files, spec, archive);
  } else if (description.weights == "model.safetensors") {
    try {
      loaded.model = make_model(spec);
    } catch (const Error& error) {
      files.refuse("musher.json", error.what());
    }
    const std::string name = archive + ": model.safetensors";
    load_weights(*loaded.model, from_safetensors(files.bytes("model.safetensors"), name), name);
  } else {
    files.refuse("musher.json", "must name model.safetensors or model.pt as \"weights\", not \"" +
                                    description.weights + "\"");
  }
  loaded.model->train(false);
  loaded.contents = std::move(description.contents);
  return loaded;
}

}  // namespace musher

#include "serving/predictor/artifact_predictor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "image/image_decoder.h"
#include "image/preprocessing.h"
#include "model/artifact.h"
#include "model/torchscript.h"
#include "storage/object_store.h"

namespace musher {
namespace {

using Shape = std::vector<std::int64_t>;

class ArtifactPredictor final : public Predictor {
 public:
  ArtifactPredictor(std::vector<LoadedArtifact> instances, ImageDecoder decoder)
      : instances_(std::move(instances)), decoder_(std::move(decoder)) {}

  const Shape& input_shape() const override { return instances_.front().contents.input_shape; }
  std::size_t outputs() const override {
    return static_cast<std::size_t>(instances_.front().contents.num_classes);
  }
  void decode(std::span<const std::byte> picture, float* out) const override {
    decoder_.decode(picture, 0, out);
  }

  void predict(std::size_t instance, std::span<const float> inputs, std::size_t samples,
               std::span<float> outputs) override {
    const at::NoGradGuard no_grad;
    Shape shape = {static_cast<std::int64_t>(samples)};
    shape.insert(shape.end(), input_shape().begin(), input_shape().end());
    // from_blob wants a pointer that may be written through; nothing writes to inputs.
    const at::Tensor batch = at::from_blob(const_cast<float*>(inputs.data()), shape,
                                           at::kFloat);  // NOLINT(*-const-cast)
    const at::Tensor logits =
        instances_[instance].model->forward(batch).to(at::kFloat).contiguous();
    if (logits.sizes() != at::IntArrayRef{shape[0], static_cast<std::int64_t>(this->outputs())}) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("the model must return [{}, {}], but returns [{}]", samples,
                              this->outputs(), fmt::join(logits.sizes(), ", ")));
    }
    std::copy_n(logits.data_ptr<float>(), outputs.size(), outputs.data());
  }

 private:
  std::vector<LoadedArtifact> instances_;
  ImageDecoder decoder_;
};

/// The first call of a shape compiles, allocates and lays out; no caller should wait for it.
void warm_up(Predictor& predictor, std::size_t instance, std::size_t samples) {
  std::size_t floats = samples;
  for (const std::int64_t length : predictor.input_shape())
    floats *= static_cast<std::size_t>(length);
  std::vector<float> outputs(samples * predictor.outputs());
  predictor.predict(instance, std::vector<float>(floats), samples, outputs);
}

}  // namespace

std::shared_ptr<Predictor> load_predictor(const std::string& text, const StorageConfig& storage,
                                          const PredictorOptions& options) {
  const Uri uri = Uri::parse(text);
  const std::size_t slash = uri.path.rfind('/');
  Uri folder = uri;
  folder.path = slash == uri.path.npos ? "" : uri.path.substr(0, slash);
  const auto bytes = open_store(folder, storage)->read(uri.path.substr(slash + 1));
  std::vector<LoadedArtifact> instances;
  for (std::size_t i = 0; i < options.instances; ++i) {
    LoadedArtifact& loaded = instances.emplace_back(load_artifact(bytes, text));
    auto faster = optimize_for_inference(*loaded.model, loaded.contents.input_shape);
    if (faster) loaded.model = std::move(faster);
  }
  const ArtifactContents& contents = instances.front().contents;
  const auto decoder = [&] {
    try {
      return ImageDecoder(parse_preprocessing(contents.preprocessing_json), options.max_pixels);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: {}", text, error.what()));
    }
  }();
  if (contents.input_shape != Shape{decoder.channels(), decoder.size(), decoder.size()}) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: musher.json and preprocessing.json differ in the input's shape, [{}]",
                    text, fmt::join(contents.input_shape, ", ")));
  }
  auto predictor = std::make_shared<ArtifactPredictor>(std::move(instances), decoder);
  for (std::size_t i = 0; i < options.instances; ++i) {
    warm_up(*predictor, i, 1);
    warm_up(*predictor, i, options.warm_up_batch);
  }
  return predictor;
}

void set_compute_threads(int threads) {
  at::set_num_threads(threads);
}

}  // namespace musher

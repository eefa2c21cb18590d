// What a network gives for inputs from a file, for comparison with PyTorch's own:
//   model_probe MODEL CLASSES FOLDER [WEIGHTS]
// reads FOLDER/inputs.safetensors (`inputs`, `targets`) and writes FOLDER/outputs.safetensors:
// `evaluation` and `training` logits, gradients of the mean cross-entropy as `gradient.<name>`,
// buffers after it as `buffer.<name>`, and the initial `parameter.<name>`; and FOLDER/model.tar.gz.
// An error is one line on stderr and exit code 2.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>

#include "common/error.h"
#include "model/artifact.h"
#include "model/weights.h"

namespace {

using namespace musher;

Safetensors read(const std::string& path, bool any_form = false) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return any_form ? read_weights(bytes, path) : from_safetensors(bytes, path);
}

void probe(const std::string& name, std::int64_t classes, const std::string& folder,
           const char* weights) {
  const auto given = read(folder + "/inputs.safetensors").tensors;
  const auto& inputs = given.at("inputs");
  const auto shape = inputs.sizes().slice(1).vec();
  const auto model =
      make_model({.name = name, .classes = classes, .input_shape = shape, .seed = 1});
  if (weights) load_weights(*model, read(weights, /*any_form=*/true), weights);

  NamedTensors results;
  for (const auto& [key, tensor] : model->parameters())
    results.emplace_back("parameter." + key, tensor.detach().clone());
  model->train(false);
  results.emplace_back("evaluation", model->forward(inputs));
  model->train(true);
  const auto logits = model->forward(inputs);
  results.emplace_back("training", logits);
  at::cross_entropy_loss(logits, given.at("targets")).backward();
  for (const auto& [key, tensor] : model->parameters())
    results.emplace_back("gradient." + key, tensor.grad());
  for (const auto& [key, tensor] : model->buffers()) results.emplace_back("buffer." + key, tensor);

  const auto store = open_store(Uri::parse("file://" + folder), {});
  store->put("outputs.safetensors", to_safetensors(results, {{"made_by", "model_probe"}}));
  write_artifact(*store, "model.tar.gz", *model,
                 {.model_name = name,
                  .input_shape = shape,
                  .classes = std::vector<std::string>(classes, "a class"),
                  .preprocessing_json = "{\"image_size\": 28}",
                  .metrics_json = "{}"});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 4)
      throw Error(ErrorCode::kInvalidArgument, "model_probe MODEL CLASSES FOLDER [WEIGHTS]");
    probe(argv[1], std::stoll(argv[2]), argv[3], argc > 4 ? argv[4] : nullptr);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
}

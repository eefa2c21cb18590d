#include "model/artifact.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "model/archive.h"
#include "support/expect_error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

using test::expect_error;
using test::MemoryStore;

const std::string kKey = "job/output/model.tar.gz";

std::unique_ptr<Model> network() {
  return make_model({.name = "convnet", .classes = 3, .input_shape = {1, 8, 8}, .seed = 1});
}

ArtifactContents contents() {
  return {.model_name = "convnet",
          .input_shape = {1, 8, 8},
          .classes = {"coat", "bag", "boot"},
          .preprocessing_json = "{}\n",
          .metrics_json = "{\"validation:accuracy\": 0.5}\n"};
}

/// Hands writes on until one fails.
class FailingWriter : public ObjectWriter {
 public:
  FailingWriter(std::unique_ptr<ObjectWriter> next, int good)
      : next_(std::move(next)), good_(good) {}
  void write(std::span<const std::byte> bytes) override {
    if (good_-- == 0) throw Error(ErrorCode::kUnavailable, "s3://memory/data is down");
    next_->write(bytes);
  }
  void commit() override { next_->commit(); }

 private:
  std::unique_ptr<ObjectWriter> next_;
  int good_;
};

class FailingStore : public MemoryStore {
 public:
  explicit FailingStore(int good) : good_(good) {}
  std::unique_ptr<ObjectWriter> writer(std::string_view key) override {
    return std::make_unique<FailingWriter>(MemoryStore::writer(key), good_);
  }

 private:
  int good_;
};

TEST(Artifact, IsByteIdenticalForTheSameContents) {
  const auto model = network();
  MemoryStore store;
  write_artifact(store, "a", *model, contents());
  write_artifact(store, "b", *model, contents());
  write_artifact(store, "c", *network(), contents());
  EXPECT_EQ(store.read("a"), store.read("b"));
  EXPECT_EQ(store.read("a"), store.read("c"));
  auto other = contents();
  other.classes.back() = "shoe";
  write_artifact(store, "d", *model, other);
  EXPECT_NE(store.read("a"), store.read("d"));
}

TEST(Artifact, AStoreThatFailsMidwayLeavesNothingAndSaysWhy) {
  const auto model =
      make_model({.name = "multilayer_perceptron", .classes = 3, .input_shape = {3, 64, 64}});
  for (const int good : {0, 1, 3}) {
    FailingStore store(good);
    expect_error(ErrorCode::kUnavailable, {"s3://memory/data"},
                 [&] { write_artifact(store, kKey, *model, contents()); });
    EXPECT_TRUE(list_sorted(store, "").empty());
  }
}

TEST(Artifact, AFailureLeavesTheFormerArtifactInAFolder) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "musher_artifact_test";
  std::filesystem::remove_all(folder);
  const auto store = open_store(Uri::parse("file://" + folder.string()), {});
  write_artifact(*store, kKey, *network(), contents());
  const auto before = store->read(kKey);

  /// A model that can't be written: its TorchScript fails half-way.
  class Broken : public Model {
   public:
    at::Tensor forward(const at::Tensor& inputs) override { return inputs; }
    NamedTensors parameters() override { return {}; }
    NamedTensors buffers() override { return {}; }
    void train(bool) override {}
    bool is_script() const override { return true; }
    void write_script(const ByteSink& sink) const override {
      const std::vector<std::byte> bytes(1 << 20);
      sink(bytes);
      if (++calls > 1) throw Error(ErrorCode::kInternal, "broken");
      sink(bytes);
    }
    mutable int calls = 0;
  } broken;
  expect_error(ErrorCode::kInternal, {"broken"},
               [&] { write_artifact(*store, kKey, broken, contents()); });
  EXPECT_EQ(store->read(kKey), before);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    files += entry.is_regular_file();
  EXPECT_EQ(files, 1u);
  std::filesystem::remove_all(folder);
}

at::Tensor logits_of(Model& model, const std::vector<std::int64_t>& shape) {
  const at::NoGradGuard no_grad;
  std::vector<std::int64_t> batch{2};
  batch.insert(batch.end(), shape.begin(), shape.end());
  const std::int64_t floats = 2 * shape[0] * shape[1] * shape[2];
  return model.forward(at::arange(floats, at::kFloat).remainder(17).div(17).view(batch));
}

TEST(LoadedArtifact, AnswersAsTheModelThatWasSaved) {
  MemoryStore store;
  const auto model = make_model({.name = "resnet18",
                                 .classes = 5,
                                 .input_shape = {3, 32, 32},
                                 .seed = 7,
                                 .head_widths = {16}});
  for (auto& [name, buffer] : model->buffers()) {
    if (name == "bn1.running_var") buffer.fill_(2.5);
  }
  write_artifact(store, kKey, *model,
                 {.model_name = "resnet18",
                  .input_shape = {3, 32, 32},
                  .classes = {"coat", "bag", "boot"},
                  .preprocessing_json = "{\"size\": 32}\n",
                  .metrics_json = "{}",
                  .num_classes = 5,
                  .head_widths = {16}});
  const LoadedArtifact loaded = load_artifact(store, kKey);
  EXPECT_EQ(loaded.contents.model_name, "resnet18");
  EXPECT_EQ(loaded.contents.classes, (std::vector<std::string>{"coat", "bag", "boot"}));
  EXPECT_EQ(loaded.contents.num_classes, 5);
  EXPECT_EQ(loaded.contents.preprocessing_json, "{\"size\": 32}\n");
  model->train(false);
  EXPECT_TRUE(at::equal(logits_of(*model, {3, 32, 32}), logits_of(*loaded.model, {3, 32, 32})));
}

TEST(LoadedArtifact, DamageIsFoundWhereverItIs) {
  MemoryStore store;
  write_artifact(store, kKey, *network(), contents());
  const auto whole = store.read(kKey);
  for (std::size_t part = 0; part < 20; ++part) {
    auto flipped = whole;
    flipped[20 + part * (whole.size() - 30) / 20] ^= std::byte{0x10};
    store.put("flipped", flipped);
    EXPECT_TRUE(test::error_of([&] { load_artifact(store, "flipped"); })) << part;
    auto cut = whole;
    cut.resize(whole.size() * part / 20);
    store.put("cut", cut);
    expect_error(ErrorCode::kDataLoss, {"s3://memory/data/cut"},
                 [&] { load_artifact(store, "cut"); });
  }
  auto cut = whole;
  cut.pop_back();
  store.put("cut", cut);
  expect_error(ErrorCode::kDataLoss, {"cut"}, [&] { load_artifact(store, "cut"); });
}

TEST(LoadedArtifact, AnArchiveOfSomethingElseSaysWhatIsMissing) {
  MemoryStore store;
  const auto put = [&](const std::vector<std::pair<std::string, std::string>>& files) {
    std::vector<std::byte> bytes;
    TarGzWriter archive([&](std::span<const std::byte> more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
    });
    for (const auto& [name, text] : files) archive.add(name, text);
    archive.finish();
    store.put(kKey, bytes);
  };
  const auto refused = [&](const char* part) {
    expect_error(ErrorCode::kInvalidArgument, {"s3://memory/data/job/output/model.tar.gz", part},
                 [&] { load_artifact(store, kKey); });
  };
  put({{"model.pth", "x"}});
  refused("musher.json");
  put({{"musher.json", "{\"format_version\": 2}"}, {"classes.json", "[]"}});
  refused("2");
  const std::string about =
      R"({"format_version": 1, "model": "convnet", "weights": "model.safetensors",
          "input_shape": [1, 8, 8], "classes": 3})";
  const std::vector<std::pair<std::string, std::string>> files = {
      {"./musher.json", about},
      {"classes.json", R"(["a", "b", "c"])"},
      {"preprocessing.json", "{}"},
      {"metrics.json", "{}"}};
  put(files);
  refused("model.safetensors");
  auto odd = files;
  odd[1].second = "{\"a\": 1}";
  put(odd);
  refused("classes.json");
  odd = files;
  odd[0].second.replace(odd[0].second.find("convnet"), 7, "vggnett");
  put(odd);
  refused("vggnett");
}

TEST(Archive, AFileThatIsNotAsLongAsSaidIsAnError) {
  for (const std::size_t said : {4u, 6u}) {
    std::size_t written = 0;
    TarGzWriter archive([&](std::span<const std::byte> bytes) { written += bytes.size(); });
    const auto five = [](const ByteSink& sink) { sink(std::as_bytes(std::span("12345", 5))); };
    expect_error(ErrorCode::kInternal, {"x.json"}, [&] { archive.add("x.json", said, five); });
  }
}

TEST(Archive, AnUnfinishedOneIsNotEndedByItsDestructor) {
  std::size_t calls = 0;
  {
    TarGzWriter archive([&](std::span<const std::byte>) { ++calls; });
    archive.add("a.txt", "text");
  }
  EXPECT_EQ(calls, 0u);
}

}  // namespace
}  // namespace musher

#include "model/artifact.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <utility>

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

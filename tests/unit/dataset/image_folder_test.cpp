#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataset/sources.h"
#include "support/expect_error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

using test::expect_error;
using test::MemoryStore;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Sample> all_samples(const Manifest& manifest) {
  std::vector<Sample> samples;
  for (std::size_t shard = 0; shard < manifest.shards().size(); ++shard) {
    for (Sample& sample : manifest.shard(shard)) samples.push_back(std::move(sample));
  }
  return samples;
}

std::vector<std::string> keys(const Manifest& manifest) {
  std::vector<std::string> keys;
  for (const Sample& sample : all_samples(manifest)) keys.push_back(sample.key);
  return keys;
}

void fill(MemoryStore& store, const std::vector<std::string>& objects) {
  for (const std::string& key : objects) store.put(key, std::string(key.size(), 'x'));
}

TEST(ImageFolder, ClassesAreSortedByNameAndSamplesByKey) {
  MemoryStore store;
  fill(store, {"b/2.jpg", "b/1.png", "a/9.webp", "a-b/5.JPEG", "a/deeper/3.Jpg"});
  const Manifest manifest = make_manifest(store, {});
  EXPECT_THAT(manifest.classes(), ElementsAre("a", "a-b", "b"));
  // '-' sorts before '/', so that the order of keys is not the order of classes.
  EXPECT_THAT(keys(manifest),
              ElementsAre("a-b/5.JPEG", "a/9.webp", "a/deeper/3.Jpg", "b/1.png", "b/2.jpg"));
  const auto samples = all_samples(manifest);
  EXPECT_EQ(samples[0].label, 1);
  EXPECT_EQ(samples[1].label, 0);
  EXPECT_EQ(samples[4].label, 2);
  EXPECT_EQ(samples[2].object, samples[2].key);
  EXPECT_EQ(samples[2].offset, 0U);
  EXPECT_EQ(samples[2].size, samples[2].key.size());
}

TEST(ImageFolder, HasShardsOf256ObjectsAcrossClasses) {
  MemoryStore store;
  for (int i = 0; i < 600; ++i) store.put(fmt::format("c{}/{:03}.jpg", i / 250, i), "x");
  store.page_size = 100;
  const Manifest manifest = make_manifest(store, {});
  ASSERT_EQ(manifest.shards().size(), 3U);
  EXPECT_EQ(manifest.shards()[0].samples, 256U);
  EXPECT_EQ(manifest.shards()[2].samples, 88U);
  EXPECT_EQ(manifest.samples(), 600U);
  auto sorted = keys(manifest);
  EXPECT_TRUE(std::ranges::is_sorted(sorted));
}

TEST(ImageFolder, SaysWhatItLeavesOut) {
  MemoryStore store;
  fill(store, {"a/1.jpg", "a/notes.txt", "a/1.jpg.bak", "README", "stray.jpg", "b/"});
  std::vector<std::string> notices;
  const Manifest manifest = make_manifest(
      store,
      {.layout = {}, .classes = {}, .cache_folder = {}, .notice = [&](const std::string& line) {
         notices.push_back(line);
       }});
  EXPECT_THAT(keys(manifest), ElementsAre("a/1.jpg"));
  EXPECT_THAT(notices, ElementsAre(HasSubstr("in no class's folder (1, e.g. stray.jpg)"),
                                   HasSubstr("no images (3, e.g. README)")));
}

TEST(ImageFolder, ValidationTakesTheLabelsOfTrain) {
  MemoryStore store;
  fill(store, {"cat/1.jpg", "eel/1.jpg"});
  ManifestOptions options;
  options.classes = {"ant", "cat", "dog", "eel"};
  const Manifest manifest = make_manifest(store, options);
  EXPECT_THAT(manifest.classes(), ElementsAre("ant", "cat", "dog", "eel"));
  EXPECT_EQ(all_samples(manifest)[0].label, 1);
  EXPECT_EQ(all_samples(manifest)[1].label, 3);
}

TEST(ImageFolder, ValidationClassThatTrainHasNot) {
  MemoryStore store;
  fill(store, {"cat/1.jpg", "eel/1.jpg"});
  ManifestOptions options;
  options.classes = {"ant", "cat"};
  expect_error(ErrorCode::kInvalidArgument,
               {"s3://memory/data/eel", "train channel has no class eel", "its 2"},
               [&] { make_manifest(store, options); });
}

TEST(ImageFolder, PrefixWithoutASampleNamesWhatWasLookedFor) {
  MemoryStore store;
  const auto make = [&] { make_manifest(store, {}); };
  expect_error(ErrorCode::kNotFound, {"s3://memory/data ", "*.tar", "<class>/<file>", ".webp"},
               make);
  fill(store, {"stray.png", "a/readme.txt"});
  expect_error(ErrorCode::kNotFound, {"in no class's folder: 1, e.g. stray.png", "a/readme.txt"},
               make);
}

TEST(ImageFolder, DoesNotDependOnTheOrderOfTheListing) {
  MemoryStore store;
  for (int i = 0; i < 50; ++i) store.put(fmt::format("c{}/{}.jpg", i % 7, i), "x");
  const auto wanted = make_manifest(store, {}).fingerprint();
  store.page_size = 1000;
  EXPECT_EQ(make_manifest(store, {}).fingerprint(), wanted);
}

}  // namespace
}  // namespace musher

#include "dataset/object_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

using test::expect_error;
using test::MemoryStore;
using testing::ElementsAre;

const std::string kUri = "s3://bucket/job.manifest";
const std::vector<std::string> kNames = {"source-ref", "class"};

std::vector<std::string> texts(const KeyList& keys) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < keys.size(); ++i) all.emplace_back(keys[i]);
  return all;
}

std::vector<std::string> described(const Manifest& manifest) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < manifest.shards().size(); ++i) {
    for (const Sample& s : manifest.shard(i)) {
      all.push_back(s.key + " " + manifest.classes()[static_cast<std::size_t>(s.label)] + " " +
                    std::to_string(s.size));
    }
  }
  return all;
}

TEST(ManifestFileList, IsThePrefixWithEachPathBehindIt) {
  const auto list =
      parse_manifest_file(R"([{"prefix": "s3://data/a/b/"}, "cat/1.jpg", "dog/2.jpg"])", kUri);
  EXPECT_EQ(list.root.str(), "s3://data/a/b");
  EXPECT_THAT(texts(list.keys), ElementsAre("cat/1.jpg", "dog/2.jpg"));
  const auto within = parse_manifest_file(R"([{"prefix": "s3://data/a/c"}, "at/1.jpg"])", kUri);
  EXPECT_EQ(within.root.str(), "s3://data/a");
  EXPECT_THAT(texts(within.keys), ElementsAre("cat/1.jpg"));
}

TEST(ManifestFileList, WhatIsNoneIsNamed) {
  const auto refused = [](const std::string& json, const std::string& says) {
    expect_error(ErrorCode::kInvalidArgument, {kUri, says},
                 [&] { parse_manifest_file(json, kUri); });
  };
  refused("nonsense", "no manifest file");
  refused("[]", "no manifest file");
  refused(R"(["cat/1.jpg"])", "no manifest file");
  refused(R"([{"prefix": "bucket/a/"}, "cat/1.jpg"])", "its prefix");
  refused(R"([{"prefix": "s3://data/a/"}])", "names no object");
  refused(R"([{"prefix": "s3://data/a/"}, "cat/1.jpg", 7])", "entry 2 must be a path, not 7");
  refused(R"([{"prefix": "s3://data/a/"}, "x", {"prefix": "y"}])", "entry 2 must be a path, not");
  refused(R"([{"prefix": "s3://data/a/"}, ""])", "entry 1 must be a path, not \"\"");
  refused(R"([{"prefix": "s3://data/a/"}, "x", "y", "x"])", "x is in it twice");
  refused(R"([{"prefix": "s3://data/a/"}, "x")", "no manifest file");
  refused(R"([{"prefix": 7}, "x"])", "no manifest file");
  refused(R"([[{"prefix": "s3://data/a/"}, "x"]])", "no manifest file");
  refused(R"({"prefix": "s3://data/a/"})", "no manifest file");
}

TEST(ManifestFileList, OnlyTheNamedObjectsAreInTheChannel) {
  MemoryStore store;
  for (const char* key : {"cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "fox/1.jpg"}) {
    store.put(key, std::string("x"));
  }
  const ObjectList list = {store.root(), {"dog/1.jpg", "cat/2.jpg"}};
  EXPECT_THAT(described(listed_manifest(store, list, {})),
              ElementsAre("cat/2.jpg cat 1", "dog/1.jpg dog 1"));
  expect_error(ErrorCode::kNotFound, {"cat/3.jpg is not there", "1 of 2 objects"}, [&] {
    listed_manifest(store, {store.root(), {"cat/1.jpg", "cat/3.jpg"}}, {});
  });
}

TEST(AugmentedManifest, HasTheClassesThatItsLinesSay) {
  const auto named = parse_augmented_manifest(
      "{\"source-ref\": \"s3://data/p/x/1.jpg\", \"class\": 1, "
      "\"class-metadata\": {\"class-name\": \"dog\"}}\n\n"
      "{\"source-ref\": \"s3://data/p/y/2.jpg\", \"class\": 0, "
      "\"class-metadata\": {\"class-name\": \"cat\"}, \"other\": [1]}\n",
      kUri, kNames);
  EXPECT_EQ(named.objects.root.str(), "s3://data/p");
  EXPECT_THAT(texts(named.objects.keys), ElementsAre("x/1.jpg", "y/2.jpg"));
  EXPECT_THAT(named.labels, ElementsAre(1, 0));
  EXPECT_THAT(named.classes, ElementsAre("cat", "dog"));

  const auto numbers =
      parse_augmented_manifest(R"({"source-ref": "file:///d/1.jpg", "class": 2})", kUri, kNames);
  EXPECT_EQ(numbers.objects.root.str(), "file:///d");
  EXPECT_THAT(numbers.classes, ElementsAre("0", "1", "2"));

  const auto texts = parse_augmented_manifest(
      "{\"source-ref\": \"s3://data/1\", \"class\": \"b\"}\n"
      "{\"source-ref\": \"s3://data/2\", \"class\": \"a\"}",
      kUri, kNames);
  EXPECT_THAT(texts.classes, ElementsAre("a", "b"));
  EXPECT_THAT(texts.labels, ElementsAre(1, 0));
  EXPECT_EQ(texts.objects.root.str(), "s3://data");
}

TEST(AugmentedManifest, WhatIsWrongIsNamedByItsLine) {
  const std::string good = "{\"source-ref\": \"s3://data/1\", \"class\": 1}\n";
  const auto refused = [&](const std::string& line, const std::string& says) {
    expect_error(ErrorCode::kInvalidArgument, {kUri, says},
                 [&] { parse_augmented_manifest(good + line, kUri, kNames); });
  };
  refused("{", "line 2: must be a JSON object");
  refused(R"({"class": 1})", "line 2: \"source-ref\" must be the URI of an image");
  refused(R"({"source-ref": "d/1", "class": 1})", "line 2: ");
  refused(R"({"source-ref": "s3://elsewhere/1", "class": 1})",
          "line 2: s3://elsewhere/1 is in another bucket");
  refused(R"({"source-ref": "s3://data/2"})", "line 2: has no \"class\"");
  refused(R"({"source-ref": "s3://data/2", "class": -1})", "line 2: \"class\" must be a class");
  refused(R"({"source-ref": "s3://data/2", "class": 1.5})", "line 2: \"class\" must be a class");
  refused(R"({"source-ref": "s3://data/2", "class": "a"})", "some are names");
  refused(R"({"source-ref": "s3://data/1", "class": 1})", "1 is in it twice");
  expect_error(ErrorCode::kInvalidArgument, {"names no object"},
               [&] { parse_augmented_manifest("\n", kUri, kNames); });
}

TEST(AugmentedManifest, AValidationChannelsClassesAreMatchedByName) {
  MemoryStore store;
  store.put("1", std::string("xx"));
  store.put("2", std::string("yyy"));
  const LabelledObjects own = {{store.root(), {"2", "1"}}, {0, 1}, {"b", "c"}};
  ManifestOptions options;
  options.classes = {{"a", "b", "c"}};
  EXPECT_THAT(described(labelled_manifest(store, own, options)), ElementsAre("1 c 2", "2 b 3"));
  EXPECT_THAT(described(labelled_manifest(store, own, {})), ElementsAre("1 c 2", "2 b 3"));
  options.classes = {{"a", "b"}};
  expect_error(ErrorCode::kInvalidArgument, {"no class c among its 2"},
               [&] { labelled_manifest(store, own, options); });
}

}  // namespace
}  // namespace musher

// Which members of a tar make a sample, and tars in gzip.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "dataset/sources.h"
#include "dataset/tar_index.h"
#include "dataset/unpacked_tar.h"
#include "support/expect_error.h"
#include "support/gzip.h"
#include "support/memory_store.h"
#include "unit/dataset/tar_testing.h"

namespace musher {
namespace {

using test::all_samples;
using test::content;
using test::error_of;
using test::expect_error;
using test::gzip;
using test::keys;
using test::make_tar;
using test::Members;
using test::MemoryStore;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::int64_t> labels(const Manifest& manifest) {
  std::vector<std::int64_t> labels;
  for (const Sample& sample : all_samples(manifest)) labels.push_back(sample.label);
  return labels;
}

Manifest manifest_of(const Members& members) {
  MemoryStore store;
  store.put("t.tar", make_tar(members));
  return make_manifest(store, {});
}

TEST(WebDatasetMembers, ClassesComeFromJson) {
  for (const std::string field : {"label", "class", "cls"}) {
    const Manifest manifest =
        manifest_of({{"0.jpg", "x"},
                     {"0.json", fmt::format(R"({{"caption": "a cat", "{}": 2}})", field)},
                     {"1.json", fmt::format(R"({{"{}": "1"}})", field)},
                     {"1.jpg", "x"}});
    EXPECT_THAT(labels(manifest), ElementsAre(2, 1)) << field;
    EXPECT_THAT(manifest.classes(), ElementsAre("0", "1", "2"));
  }
}

TEST(WebDatasetMembers, ClsGoesBeforeJson) {
  const Manifest manifest = manifest_of({{"0.json", R"({"label": 2})"},
                                         {"0.cls", "1"},
                                         {"0.jpg", "x"},
                                         {"1.jpg", "x"},
                                         {"1.cls", "0"},
                                         {"1.json", R"({"caption": "no class"})"}});
  EXPECT_THAT(labels(manifest), ElementsAre(1, 0));
}

TEST(WebDatasetMembers, ClassesByNameAreSortedOverAllTars) {
  MemoryStore store;
  store.put("0.tar", make_tar({{"0.jpg", "x"},
                               {"0.json", R"({"label": "zebra"})"},
                               {"1.jpg", "x"},
                               {"1.json", R"({"label": "cat"})"}}));
  store.put("1.tar", make_tar({{"0.jpg", "x"},
                               {"0.json", R"({"label": "dog"})"},
                               {"1.jpg", "x"},
                               {"1.json", R"({"label": "cat"})"}}));
  const Manifest manifest = make_manifest(store, {});
  EXPECT_THAT(manifest.classes(), ElementsAre("cat", "dog", "zebra"));
  EXPECT_THAT(labels(manifest), ElementsAre(2, 0, 1, 0));
  ManifestOptions options;
  options.classes = {"ant", "cat", "dog", "zebra"};
  EXPECT_THAT(labels(make_manifest(store, options)), ElementsAre(3, 1, 2, 1));
  options.classes = {"cat", "dog"};
  expect_error(ErrorCode::kInvalidArgument, {"data/0.tar: class zebra", "the 2 classes"},
               [&] { make_manifest(store, options); });
  store.put("2.tar", make_tar({{"0.jpg", "x"}, {"0.cls", "1"}}));
  expect_error(ErrorCode::kInvalidArgument, {"1.tar are names", "2.tar they are numbers"},
               [&] { make_manifest(store, {}); });
}

TEST(WebDatasetMembers, JsonThatIsNotRightNamesTarAndKey) {
  const auto expect_refused = [](std::initializer_list<std::string> parts,
                                 const std::string& json) {
    expect_error(ErrorCode::kInvalidArgument, {"s3://memory/data/t.tar: sample dir/7 "}, [&] {
      manifest_of({{"dir/7.jpg", "x"}, {"dir/7.json", json}});
    });
    expect_error(ErrorCode::kInvalidArgument, parts, [&] {
      manifest_of({{"dir/7.jpg", "x"}, {"dir/7.json", json}});
    });
  };
  expect_refused({"no JSON", "dir/7.json"}, "{\"label\": ");
  for (const std::string value : {"-1", "1.5", "null", "\"\"", "[1]"}) {
    expect_refused({"\"label\" is no class", value}, fmt::format("{{\"label\": {}}}", value));
  }
  expect_refused({"an image but no class"}, "{}");
  expect_refused({"an image but no class"}, "[3]");
  expect_error(ErrorCode::kInvalidArgument, {"sample 1 has the class 3", "have names"}, [] {
    manifest_of({{"0.jpg", "x"},
                 {"0.json", R"({"label": "cat"})"},
                 {"1.jpg", "x"},
                 {"1.json", R"({"label": 3})"}});
  });
}

TEST(WebDatasetMembers, MembersOfOneKeyNeedNotLieSideBySide) {
  MemoryStore store;
  store.put("t.tar", make_tar({{"a.b/x.y.jpg", "part"},
                               {"a.b/y.jpg", "other"},
                               {"a.b/x.jpg", "image"},
                               {"a.b/x.depth.png", "depth"},
                               {"a.b/y.cls", "1"},
                               {"a.b/x.cls", "0"},
                               {"__index__/x.jpg", "note"},
                               {"a/x.jpg", "elsewhere"},
                               {"a/x.cls", "2"}}));
  const Manifest manifest = make_manifest(store, {});
  EXPECT_THAT(keys(manifest), ElementsAre("t.tar/a.b/x", "t.tar/a.b/y", "t.tar/a/x"));
  EXPECT_THAT(labels(manifest), ElementsAre(0, 1, 2));
  EXPECT_EQ(content(store, all_samples(manifest)[0]), "image");
}

TEST(WebDatasetMembers, TheOnlyImageOfALongerExtensionIsTheImage) {
  MemoryStore store;
  store.put("t.tar", make_tar({{"0.input.JPG", "image"}, {"0.cls", "1"}, {"0.mask.bin", "m"}}));
  EXPECT_EQ(content(store, all_samples(make_manifest(store, {}))[0]), "image");
  store.put("t.tar", make_tar({{"0.left.jpg", "x"}, {"0.right.jpg", "x"}, {"0.cls", "1"}}));
  expect_error(ErrorCode::kInvalidArgument, {"sample 0 has several", "0.left.jpg", "0.right.jpg"},
               [&] { make_manifest(store, {}); });
}

// gzip

Members some_members() {
  Members members;
  Random random{3};
  for (int i = 0; i < 40; ++i) {
    std::string noise(1000 * static_cast<std::size_t>(i) + 1, '\0');
    for (char& c : noise) c = static_cast<char>(random.below(256));
    members.push_back({fmt::format("{:03}.jpg", i), noise});
    members.push_back({fmt::format("{:03}.cls", i), fmt::format("{}", i % 3)});
  }
  return members;
}

TEST(GzipTar, HasTheSamplesOfTheTarInIt) {
  const std::string tar = make_tar(some_members());
  MemoryStore store;
  store.put("t.tar", tar);
  store.put("one.tar.gz", gzip(tar));
  store.put("two.tgz", gzip(tar.substr(0, 100'000)) + gzip(tar.substr(100'000)));
  const auto wanted = decode_shard(index_tar(store, store.head("t.tar")).block);
  ASSERT_EQ(wanted.size(), 40U);
  for (const std::string key : {"one.tar.gz", "two.tgz"}) {
    const auto found = decode_shard(index_tar(store, store.head(key)).block);
    ASSERT_EQ(found.size(), wanted.size());
    UnpackedTar unpacked(store, key, store.head(key).size);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].object, key);
      EXPECT_EQ(found[i].offset, wanted[i].offset);
      EXPECT_EQ(found[i].size, wanted[i].size);
      EXPECT_EQ(found[i].label, wanted[i].label);
      EXPECT_EQ(unpacked.read(found[i].offset, found[i].size),
                store.read("t.tar", wanted[i].offset, wanted[i].size));
    }
  }
}

TEST(GzipTar, ATarLongerThanOneRangeIsReadInRanges) {
  Random random{4};
  std::string noise(9 << 20, '\0');
  for (char& c : noise) c = static_cast<char>(random.below(256));
  MemoryStore store;
  store.put("t.tar.gz",
            gzip(make_tar({{"0.jpg", noise}, {"1.jpg", "x"}, {"0.cls", "0"}, {"1.cls", "0"}})));
  store.reads = 0;
  const Manifest manifest = make_manifest(store, {});
  EXPECT_EQ(store.reads, 3);
  store.reads = 0;
  UnpackedTar unpacked(store, "t.tar.gz", store.head("t.tar.gz").size);
  const Sample sample = all_samples(manifest)[1];
  EXPECT_EQ(unpacked.read(sample.offset, sample.size).at(0), std::byte{'x'});
  EXPECT_EQ(store.reads, 3);
}

TEST(GzipTar, CutOffAnywhereIsDataLoss) {
  const std::string packed = gzip(make_tar(some_members()));
  for (std::size_t length = 0; length < packed.size(); length += packed.size() / 50) {
    MemoryStore store;
    store.put("t.tar.gz", packed.substr(0, length));
    expect_error(ErrorCode::kDataLoss, {"s3://memory/data/t.tar.gz", "cut off"},
                 [&] { make_manifest(store, {}); });
  }
  MemoryStore store;
  store.put("t.tar.gz", packed.substr(0, packed.size() - 1));
  expect_error(ErrorCode::kDataLoss, {"t.tar.gz", "cut off"}, [&] { make_manifest(store, {}); });
  // The stream is whole, the tar in it is not.
  store.put("t.tar.gz", gzip(make_tar(some_members()).substr(0, 100'000)));
  expect_error(ErrorCode::kDataLoss, {"t.tar.gz", "cut off"}, [&] { make_manifest(store, {}); });
}

TEST(GzipTar, DamageAnywhereIsDataLoss) {
  const std::string packed = gzip(make_tar(some_members()));
  Random random{5};
  for (int round = 0; round < 100; ++round) {
    std::string damaged = packed;
    // Behind the ten bytes of the header, some of which nobody reads.
    const std::size_t at = 10 + random.below(packed.size() - 10);
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.below(8)));
    MemoryStore store;
    store.put("t.tar.gz", damaged);
    const auto error = error_of([&] { make_manifest(store, {}); });
    ASSERT_TRUE(error) << at;
    EXPECT_THAT(error->what(), HasSubstr("s3://memory/data/t.tar.gz"));
  }
}

TEST(GzipTar, LargeOnesAreNamed) {
  MemoryStore store;
  const std::string image(97 << 20, 'x');
  store.put("t.tgz", gzip(make_tar({{"0.jpg", image}, {"0.cls", "0"}}), /*level=*/0));
  std::vector<std::string> notices;
  ManifestOptions options;
  options.notice = [&](const std::string& line) { notices.push_back(line); };
  make_manifest(store, options);
  EXPECT_THAT(notices, ElementsAre(HasSubstr("1 gzip tars are larger than 96 MiB (e.g. t.tgz)")));
}

}  // namespace
}  // namespace musher

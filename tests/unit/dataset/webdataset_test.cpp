#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "dataset/sources.h"
#include "dataset/tar_index.h"
#include "support/expect_error.h"
#include "support/memory_store.h"
#include "unit/dataset/tar_testing.h"

namespace musher {
namespace {

using test::all_samples;
using test::content;
using test::error_of;
using test::expect_error;
using test::keys;
using test::make_tar;
using test::Members;
using test::MemoryStore;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A folder that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "webdataset-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(WebDataset, OffsetsAreThoseOfPythonsTarfile) {
  const TemporaryFolder folder;
  const std::string command =
      fmt::format("'{}' '{}' '{}'", MUSHER_PYTHON, MUSHER_MAKE_TARS, folder.path().string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  for (const std::string name : {"ustar", "gnu", "pax", "pax-times"}) {
    MemoryStore store;
    store.put("t.tar", file_text(folder.path() / (name + ".tar")));
    std::string found;
    for (const Sample& sample : decode_shard(index_tar(store, store.head("t.tar")).block)) {
      EXPECT_EQ(sample.object, "t.tar");
      found += fmt::format("{}\t{}\t{}\t{}\n", sample.key.substr(6), sample.offset, sample.size,
                           sample.label);
    }
    EXPECT_EQ(found, file_text(folder.path() / (name + ".txt"))) << name;
  }
}

TEST(WebDataset, TarsAreShardsSortedByKey) {
  MemoryStore store;
  store.put("b.tar",
            make_tar({{"2.jpg", "BB"}, {"2.cls", "0"}, {"1.png", "B"}, {"1.cls", " 3\n"}}));
  store.put("a.tar", make_tar({{"2.cls", "1"}, {"2.jpg", "A"}}));
  store.put("empty.tar", make_tar({}));
  const Manifest manifest = make_manifest(store, {});
  EXPECT_THAT(manifest.classes(), ElementsAre("0", "1", "2", "3"));
  ASSERT_EQ(manifest.shards().size(), 3U);
  EXPECT_THAT(keys(manifest), ElementsAre("a.tar/2", "b.tar/2", "b.tar/1"));
  const auto samples = all_samples(manifest);
  EXPECT_EQ(content(store, samples[1]), "BB");
  EXPECT_EQ(content(store, samples[2]), "B");
  EXPECT_EQ(samples[2].label, 3);
}

TEST(WebDataset, KeysEndAtTheFirstDotOfTheFileName) {
  MemoryStore store;
  store.put("t.tar", make_tar({{"v1.0/cat.seg.png", "mask"},
                               {"v1.0/cat.JPG", "image"},
                               {"v1.0/cat.cls", "0"},
                               {"v1.0/.hidden.jpg", "x"},
                               {"no-extension", "x"},
                               {"dog.json", "{}"},
                               {"dog.cls", "1"}}));
  std::vector<std::string> notices;
  ManifestOptions options;
  options.notice = [&](const std::string& line) { notices.push_back(line); };
  const Manifest manifest = make_manifest(store, options);
  EXPECT_THAT(keys(manifest), ElementsAre("t.tar/v1.0/cat"));
  EXPECT_EQ(content(store, all_samples(manifest)[0]), "image");
  EXPECT_THAT(notices, ElementsAre(HasSubstr("left out 1 keys without an image")));
}

TEST(WebDataset, SamplesThatAreNotRightNameTarAndKey) {
  const auto expect_refused = [](std::initializer_list<std::string> parts, const Members& members) {
    MemoryStore store;
    store.put("t.tar", make_tar(members));
    expect_error(ErrorCode::kInvalidArgument, {"s3://memory/data/t.tar: sample dir/7 "},
                 [&] { make_manifest(store, {}); });
    expect_error(ErrorCode::kInvalidArgument, parts, [&] { make_manifest(store, {}); });
  };
  const std::pair<std::string, std::string> image = {"dir/7.jpg", "x"};
  expect_refused({"an image but no class", ".json"}, {image});
  for (const std::string text : {"", "cat", "-1", "1.5", "1 2", "99999999999999999999", "0x1"}) {
    expect_refused({"dir/7.cls", "decimal number"}, {image, {"dir/7.cls", text}});
  }
  expect_refused({"decimal number"}, {image, {"dir/7.cls", std::string(1000, '1')}});
  expect_refused({"two images", "7.jpg", "7.png"}, {image, {"dir/7.png", "x"}, {"dir/7.cls", "1"}});
  expect_refused({"two .cls"}, {image, {"dir/7.cls", "1"}, {"a.jpg", ""}, {"dir/7.cls", "1"}});
  expect_refused({"class 1048576"}, {image, {"dir/7.cls", "1048576"}});
}

TEST(WebDataset, ATarCutOffAnywhereIsDataLoss) {
  Members members;
  for (int i = 0; i < 6; ++i) {
    members.push_back({fmt::format("{}.jpg", i), std::string(100 + 300 * i, 'x')});
    members.push_back({fmt::format("{}.cls", i), "1"});
  }
  const std::string tar = make_tar(members);
  ASSERT_EQ(tar.size() % 512, 0U);
  // Beyond the first block of zeros nothing is missing but padding.
  for (std::size_t length = 0; length < tar.size() - 1024;
       length += length % 512 == 500 ? 12 : 100) {
    MemoryStore store;
    store.put("t.tar", tar.substr(0, length));
    expect_error(ErrorCode::kDataLoss, {"s3://memory/data/t.tar"},
                 [&] { index_tar(store, store.head("t.tar")); });
  }
  MemoryStore store;
  store.put("t.tar", tar.substr(0, 512 + 50));
  expect_error(ErrorCode::kDataLoss, {"t.tar", "cut off in member 0.jpg"},
               [&] { make_manifest(store, {}); });
  // Between two members, where only the end mark is missing.
  store.put("t.tar", tar.substr(0, 2048));
  expect_error(ErrorCode::kDataLoss, {"cut off after member 0.cls", "2048", "end mark"},
               [&] { make_manifest(store, {}); });
}

TEST(WebDataset, DamagedTarsAreDataLossOrLeaveOffsetsInside) {
  const std::string tar =
      make_tar({{"0.jpg", std::string(700, 'x')}, {"0.cls", "1"}, {"1.jpg", "y"}, {"1.cls", "2"}});
  Random random{1};
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = tar;
    for (int i = 0; i < 3; ++i)
      damaged[random.below(tar.size())] = static_cast<char>(random.below(256));
    MemoryStore store;
    store.put("t.tar", damaged);
    TarIndex index;
    if (error_of([&] { index = index_tar(store, store.head("t.tar")); })) continue;
    for (const Sample& sample : decode_shard(index.block)) {
      ASSERT_LE(sample.offset + sample.size, damaged.size());
    }
  }
}

TEST(WebDataset, WhatIsNoTar) {
  MemoryStore store;
  store.put("t.tar", std::string(3000, 'x'));
  expect_error(ErrorCode::kDataLoss, {"t.tar: the tar is"}, [&] { make_manifest(store, {}); });
}

TEST(WebDataset, TheStoresOwnErrorIsWhatTheCallerSees) {
  MemoryStore store;
  store.put("t.tar",
            make_tar({{"0.jpg", std::string(6 << 20, 'x')}, {"1.jpg", std::string(6 << 20, 'x')}}));
  store.before_read = [](std::string_view, std::uint64_t offset) {
    if (offset > 0) throw Error(ErrorCode::kUnavailable, "503 SlowDown");
  };
  expect_error(ErrorCode::kUnavailable, {"503 SlowDown"}, [&] { make_manifest(store, {}); });
}

TEST(WebDataset, OfManyBadTarsTheFirstIsNamedEveryTime) {
  MemoryStore store;
  for (int i = 0; i < 40; ++i) {
    store.put(fmt::format("{:02}.tar", i),
              make_tar({{"x.jpg", "x"}, {"x.cls", i < 11 ? "1" : "bad"}}));
  }
  for (int round = 0; round < 20; ++round) {
    expect_error(ErrorCode::kInvalidArgument, {"/11.tar: "}, [&] { make_manifest(store, {}); });
  }
}

TEST(WebDataset, NoImageAtAll) {
  MemoryStore store;
  store.put("t.tar", make_tar({{"0.cls", "1"}}));
  expect_error(ErrorCode::kNotFound, {"s3://memory/data ", "tars without an image: 1"},
               [&] { make_manifest(store, {}); });
}

TEST(WebDatasetClasses, NamesComeFromTheFileBesideTheTars) {
  MemoryStore store;
  store.put("s/0.tar", make_tar({{"0.jpg", "x"}, {"0.cls", "1"}}));
  store.put("classes.txt", "wrong\n");
  store.put("s/classes.txt", "cat\r\nhot dog\nunseen\n\n");
  EXPECT_THAT(make_manifest(store, {}).classes(), ElementsAre("cat", "hot dog", "unseen"));
  store.remove("s/classes.txt");
  expect_error(ErrorCode::kInvalidArgument,
               {"s/0.tar: sample 0 has class 1", "there are 1 classes"},
               [&] { make_manifest(store, {}); });
  for (const std::string text : {"a\n\nb\n", "a\nb\na\n"}) {
    store.put("classes.txt", text);
    expect_error(ErrorCode::kInvalidArgument, {"data/classes.txt: line "},
                 [&] { make_manifest(store, {}); });
  }
}

TEST(WebDatasetClasses, ValidationMustAgreeWithTrain) {
  MemoryStore store;
  store.put("0.tar", make_tar({{"0.jpg", "x"}, {"0.cls", "2"}}));
  const auto classes = [&](std::vector<std::string> train) {
    ManifestOptions options;
    options.classes = std::move(train);
    return make_manifest(store, options).classes();
  };
  EXPECT_THAT(classes({"a", "b", "c", "d"}), ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(classes({"0", "1", "2"}), ElementsAre("0", "1", "2"));
  expect_error(ErrorCode::kInvalidArgument, {"0.tar: sample 0 has class 2", "2 classes"}, [&] {
    classes({"a", "b"});
  });
  store.put("classes.txt", "a\nb\nc");
  EXPECT_THAT(classes({"a", "b", "c"}), ElementsAre("a", "b", "c"));
  EXPECT_THAT(classes({"0", "1", "2"}), ElementsAre("0", "1", "2"));
  expect_error(ErrorCode::kInvalidArgument,
               {"data/classes.txt: class 1 is b, in the train channel it is x"}, [&] {
                 classes({"a", "x", "c"});
               });
  expect_error(ErrorCode::kInvalidArgument, {"class 3 is missing", "3 here, 4 there"}, [&] {
    classes({"a", "b", "c", "d"});
  });
}

class WebDatasetCache : public testing::Test {
 protected:
  void SetUp() override {
    store.put("0.tar", make_tar({{"0.jpg", "x"}, {"0.cls", "2"}}));
    options.cache_folder = (folder.path() / "made" / "when needed").string();
    options.notice = [&](const std::string& line) { notices.push_back(line); };
  }
  /// Whether a manifest made now reads the tar.
  bool reads_tar() {
    store.reads = 0;
    fingerprint = make_manifest(store, options).fingerprint();
    return store.reads > 0;
  }
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(options.cache_folder)) {
      found.push_back(entry.path());
    }
    return found;
  }

  TemporaryFolder folder;
  MemoryStore store;
  ManifestOptions options;
  std::vector<std::string> notices;
  std::uint64_t fingerprint = 0;
};

TEST_F(WebDatasetCache, ReadsEachTarOnce) {
  EXPECT_TRUE(reads_tar());
  const auto first = fingerprint;
  EXPECT_FALSE(reads_tar());
  EXPECT_EQ(fingerprint, first);
  EXPECT_EQ(files().size(), 1U);
  EXPECT_THAT(notices, IsEmpty());
}

TEST_F(WebDatasetCache, DoesNotServeAnIndexOfAnotherTar) {
  EXPECT_TRUE(reads_tar());
  store.put("0.tar", make_tar({{"1.jpg", "x"}, {"1.cls", "2"}}));  // as long as before, but newer
  EXPECT_TRUE(reads_tar());
  EXPECT_THAT(keys(make_manifest(store, options)), ElementsAre("0.tar/1"));
  MemoryStore other({.scheme = "s3", .bucket = "other", .path = ""});
  other.put("0.tar", make_tar({{"9.jpg", "x"}, {"9.cls", "2"}}));
  EXPECT_THAT(keys(make_manifest(other, options)), ElementsAre("0.tar/9"));
}

TEST_F(WebDatasetCache, IsNotTrustedWhereTheStoreTellsNoTime) {
  store.tells_time = false;
  EXPECT_TRUE(reads_tar());
  EXPECT_TRUE(reads_tar());
}

TEST_F(WebDatasetCache, DamagedFilesAreReadAgainAndReplaced) {
  EXPECT_TRUE(reads_tar());
  const auto wanted = fingerprint;
  const auto file = files().at(0);
  const std::string good = file_text(file);
  for (std::size_t i = 0; i <= good.size(); i += 3) {
    std::string bad = good.substr(0, i);
    if (i % 2 == 0 && i < good.size()) {
      bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 0x10);
    }
    if (bad == good) continue;
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bad;
    EXPECT_TRUE(reads_tar()) << i;
    EXPECT_EQ(fingerprint, wanted);
    EXPECT_FALSE(reads_tar()) << i;
  }
  EXPECT_EQ(files().size(), 1U);
}

TEST_F(WebDatasetCache, ServesTarsOfARealFolder) {
  std::filesystem::create_directories(folder.path() / "data" / "shards");
  std::ofstream(folder.path() / "data" / "shards" / "0.tar", std::ios::binary)
      << make_tar({{"cat.jpg", "meow"}, {"cat.cls", "0"}});
  const auto files = open_store(Uri::parse("file://" + (folder.path() / "data").string()), {});
  for (int round = 0; round < 2; ++round) {
    const auto samples = all_samples(make_manifest(*files, options));
    ASSERT_EQ(samples.size(), 1U);
    EXPECT_EQ(samples[0].key, "shards/0.tar/cat");
    const auto bytes = files->read(samples[0].object, samples[0].offset, samples[0].size);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "meow");
    EXPECT_EQ(this->files().size(), 1U);
  }
}

TEST_F(WebDatasetCache, AFolderThatCanNotBeWrittenIsNoError) {
  std::ofstream(folder.path() / "file") << "x";
  options.cache_folder = (folder.path() / "file" / "below").string();
  EXPECT_TRUE(reads_tar());
  EXPECT_THAT(notices, ElementsAre(HasSubstr("can't be written")));
}

}  // namespace
}  // namespace musher

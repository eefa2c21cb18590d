#include "storage/cached_store.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/parallel.h"
#include "common/random.h"
#include "support/expect_error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::MemoryStore;

std::string noise(std::uint64_t seed, std::size_t size) {
  Random random{seed};
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random.below(256));
  return text;
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class CachedStoreTest : public testing::Test {
 protected:
  CachedStoreTest() {
    std::string name = (fs::temp_directory_path() / "cached-test-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    folder_ = (root_ / "cache").string();
  }
  ~CachedStoreTest() override { fs::remove_all(root_); }

  /// A store with the objects of `objects_`, as another job opens it, which keeps to `limit`.
  std::unique_ptr<CachedStore> open(std::uint64_t limit = 100 << 20) {
    auto store = std::make_unique<MemoryStore>();
    store_ = store.get();
    store_->tells_time = tells_time_;
    for (const auto& [key, text] : objects_) store->put(key, text);
    return std::make_unique<CachedStore>(std::move(store),
                                         std::make_shared<LocalCache>(folder_, limit, nullptr));
  }

  fs::path root_;
  std::string folder_;
  MemoryStore* store_ = nullptr;
  bool tells_time_ = true;
  std::map<std::string, std::string> objects_ = {{"a", noise(1, 10'000'000)}, {"b", "small"}};
};

TEST_F(CachedStoreTest, WhatWasReadOnceComesFromTheDisk) {
  for (int job = 0; job < 2; ++job) {
    const auto cached = open();
    for (int epoch = 0; epoch < 2; ++epoch) {
      EXPECT_EQ(text_of(cached->read("a", 100, 9'000'000)), objects_["a"].substr(100, 9'000'000));
      EXPECT_EQ(text_of(cached->read("b")), "small");
    }
    EXPECT_EQ(store_->reads, job == 0 ? 4 : 0);
  }
}

TEST_F(CachedStoreTest, AnyRangeIsThatOfTheStore) {
  const auto cached = open();
  Random random{2};
  for (int round = 0; round < 200; ++round) {
    const std::uint64_t offset = random.below(10'000'001);
    const std::uint64_t length =
        random.below(std::min<std::uint64_t>(5'000'000, 10'000'001 - offset));
    EXPECT_EQ(text_of(cached->read("a", offset, length)), objects_["a"].substr(offset, length));
  }
  EXPECT_EQ(text_of(cached->read("a")), objects_["a"]);
  EXPECT_EQ(store_->reads, 3 + 0);
  expect_error(ErrorCode::kDataLoss, {"a"}, [&] { cached->read("a", 9'999'999, 2); });
  expect_error(ErrorCode::kNotFound, {"gone"}, [&] { cached->read("gone", 0, 1); });
}

TEST_F(CachedStoreTest, AnObjectThatWasReplacedIsReadAnew) {
  EXPECT_EQ(text_of(open()->read("b")), "small");
  objects_["a"] = "another";  // so that b gets another time
  objects_["b"] = "SMALL";
  auto cached = open();
  store_->put("b", "SMALL");
  EXPECT_EQ(text_of(cached->read("b")), "SMALL");
  EXPECT_EQ(text_of(open()->read("a")), "another");
}

TEST_F(CachedStoreTest, WithoutATimeNothingIsKept) {
  tells_time_ = false;
  for (int job = 0; job < 2; ++job) {
    const auto cached = open();
    EXPECT_EQ(text_of(cached->read("b", 0, 5)), "small");
    EXPECT_FALSE(cached->bring("b"));
    EXPECT_EQ(store_->reads, 1);
  }
}

TEST_F(CachedStoreTest, BringFetchesAllOnce) {
  const auto cached = open();
  EXPECT_TRUE(cached->bring("a"));
  EXPECT_TRUE(cached->bring("b"));
  EXPECT_EQ(store_->reads, 4);
  EXPECT_TRUE(cached->bring("a"));
  EXPECT_EQ(text_of(cached->read("a")), objects_["a"]);
  EXPECT_EQ(store_->reads, 4);
}

TEST_F(CachedStoreTest, ThreadsThatWantOneBlockFetchItOnce) {
  const auto cached = open();
  in_parallel("read", 8, 64, [&](std::size_t i) {
    EXPECT_EQ(text_of(cached->read("a", i * 1000, 500)), objects_["a"].substr(i * 1000, 500));
  });
  EXPECT_EQ(store_->reads, 1);
}

TEST_F(CachedStoreTest, WhatCanNotBeKeptIsReadAsItWasAskedFor) {
  std::ofstream(folder_) << "a file where the folder should be";
  const auto cached = open();
  EXPECT_EQ(text_of(cached->read("a", 0, 10)), objects_["a"].substr(0, 10));  // finds out
  std::vector<std::uint64_t> offsets;
  store_->before_read = [&](std::string_view, std::uint64_t offset) { offsets.push_back(offset); };
  EXPECT_EQ(text_of(cached->read("a", 5'000'001, 17)), objects_["a"].substr(5'000'001, 17));
  EXPECT_THAT(offsets, testing::ElementsAre(5'000'001U));
  EXPECT_FALSE(cached->bring("b"));
}

TEST_F(CachedStoreTest, MoreThanTheLimitIsReadRightToo) {
  const auto cached = open(6 << 20);
  for (int epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(text_of(cached->read("a", 0, 10'000'000)), objects_["a"]);
  }
  std::uint64_t sum = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (entry.is_regular_file()) sum += entry.file_size();
  }
  EXPECT_LE(sum, 6U << 20);
}

TEST_F(CachedStoreTest, TheStoresErrorIsWhatTheCallerSees) {
  const auto cached = open();
  store_->before_read = [](std::string_view, std::uint64_t) {
    throw Error(ErrorCode::kUnavailable, "503 SlowDown");
  };
  expect_error(ErrorCode::kUnavailable, {"503 SlowDown"}, [&] { cached->read("a", 0, 10); });
  store_->before_read = nullptr;
  EXPECT_EQ(text_of(cached->read("a", 0, 10)), objects_["a"].substr(0, 10));
}

}  // namespace
}  // namespace musher

#include "trainer/input/gather.h"

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

namespace fs = std::filesystem;

/// 40 shards: a tar each, or 10 objects each.
class GatherTest : public testing::Test {
 protected:
  GatherTest() {
    std::string name = (fs::temp_directory_path() / "gather-test-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    auto store = std::make_unique<test::MemoryStore>();
    store_ = store.get();
    for (int shard = 0; shard < 40; ++shard) {
      for (const Sample& sample : samples_of(shard)) store->put(sample.object, sample.key);
    }
    cached_ = std::make_unique<CachedStore>(
        std::move(store), std::make_shared<LocalCache>(folder_.string(), 100 << 20, nullptr));
  }
  ~GatherTest() override { fs::remove_all(folder_); }

  static std::vector<Sample> samples_of(int shard) {
    std::vector<Sample> samples(10);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      samples[i].key = fmt::format("{:02}/{}", shard, i);
      samples[i].object = shard % 2 == 0 ? fmt::format("{:02}.tar", shard) : samples[i].key;
    }
    return samples;
  }

  void gather(Share share) {
    gather_channel(
        [&](const std::vector<std::uint32_t>& shards) {
          std::vector<std::vector<Sample>> samples;
          samples.reserve(shards.size());
          for (const std::uint32_t shard : shards) {
            samples.push_back(samples_of(static_cast<int>(shard)));
          }
          return samples;
        },
        40, share, *cached_, stop_);
  }

  fs::path folder_;
  test::MemoryStore* store_ = nullptr;
  std::unique_ptr<CachedStore> cached_;
  std::atomic<bool> stop_ = false;
};

constexpr int kObjects = 20 + 20 * 10;

TEST_F(GatherTest, TheSharesTogetherAreAllAndEachObjectComesOnce) {
  for (std::uint32_t part = 0; part < 3; ++part) gather({part, 3});
  EXPECT_EQ(store_->reads, kObjects);
  gather({0, 1});
  EXPECT_EQ(store_->reads, kObjects);
}

TEST_F(GatherTest, MoreRanksThanShards) {
  for (std::uint32_t part = 0; part < 50; ++part) gather({part, 50});
  EXPECT_EQ(store_->reads, kObjects);
}

TEST_F(GatherTest, EndsWhenItIsToldTo) {
  store_->before_read = [&](std::string_view, std::uint64_t) { stop_ = true; };
  gather({0, 1});
  EXPECT_LE(store_->reads, 8);
}

TEST_F(GatherTest, TheStoresErrorIsWhatTheCallerSees) {
  store_->before_read = [&](std::string_view key, std::uint64_t) {
    if (key == "07/3") throw Error(ErrorCode::kUnavailable, "503 SlowDown");
  };
  EXPECT_THROW(gather({0, 1}), Error);
}

}  // namespace
}  // namespace musher

#include <fstream>

#include <gtest/gtest.h>

#include "common/checksum.h"
#include "common/error.h"
#include "coordinator/channels.h"
#include "coordinator/temporary_folder.h"

namespace musher {
namespace {

Manifest some_manifest() {
  Manifest manifest({"cat", "dog"});
  for (int shard = 0; shard < 3; ++shard) {
    std::vector<Sample> samples;
    for (int i = 0; i < 4; ++i) {
      const std::string key = "s" + std::to_string(shard) + "/" + std::to_string(i);
      samples.push_back({key, key, 0, 100, i % 2, hash64(key)});
    }
    manifest.add_shard(samples);
  }
  return manifest;
}

TEST(ManifestFile, ComesBackAsItWas) {
  const TemporaryFolder folder("musher-test");
  const Manifest manifest = some_manifest();
  save_manifest(folder.path() / "m", {"s3://bucket/data", manifest});
  const auto loaded = load_manifest(folder.path() / "m");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->manifest.fingerprint(), manifest.fingerprint());
  EXPECT_EQ(loaded->manifest.classes(), manifest.classes());
  EXPECT_EQ(loaded->root, "s3://bucket/data");
  EXPECT_FALSE(load_manifest(folder.path() / "none"));
}

TEST(ManifestFile, DamageAnywhereIsFound) {
  const TemporaryFolder folder("musher-test");
  const auto path = folder.path() / "m";
  save_manifest(path, {"s3://bucket/data", some_manifest()});
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const std::size_t blocks = whole.find('\n') + 1;
  for (std::size_t at = blocks; at < whole.size(); at += 7) {
    std::string bytes = whole;
    bytes[at] ^= 1;
    std::ofstream(path, std::ios::binary) << bytes;
    EXPECT_THROW(load_manifest(path), Error) << at;
  }
  std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() - 1);
  EXPECT_THROW(load_manifest(path), Error);
}

TEST(ShardedByKey, AVirtualWorkerKeepsItsSamples) {
  const ChannelData replicated("train", "s3://bucket/data", some_manifest());
  const ChannelData sharded("train", "s3://bucket/data", some_manifest(), /*sharded=*/true);
  const DealOptions first = {.seed = 3, .epoch = 0, .virtual_workers = 4, .window = 4};
  int moved = 0;
  for (std::uint64_t epoch = 1; epoch < 6; ++epoch) {
    DealOptions later = first;
    later.epoch = epoch;
    EXPECT_EQ(*sharded.runs(later), *sharded.runs(first));
    moved += *replicated.runs(later) == *replicated.runs(first) ? 0 : 1;
  }
  EXPECT_GT(moved, 0);
}

}  // namespace
}  // namespace musher

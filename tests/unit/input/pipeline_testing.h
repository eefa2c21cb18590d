#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/checksum.h"
#include "common/error.h"
#include "support/gzip.h"
#include "support/memory_store.h"
#include "trainer/input/pipeline.h"

namespace musher {

/// `on_read` sees the ranges; it may wait, count or throw.
class WatchedStore final : public test::MemoryStore {
 public:
  std::function<void(std::string_view key, std::uint64_t offset, std::uint64_t length)> on_read;

  std::vector<std::byte> read(std::string_view key, std::uint64_t offset,
                              std::uint64_t length) override {
    if (on_read) on_read(key, offset, length);
    return MemoryStore::read(key, offset, length);
  }
  std::vector<std::byte> read(std::string_view) override {
    throw Error(ErrorCode::kInternal, "the pipeline reads ranges only");
  }
};

/// A sample's bytes are "<key>;" and filling; its three floats are hashes of the bytes and of the
/// random key.
class HashDecoder final : public SampleDecoder {
 public:
  std::vector<std::int64_t> input_shape() const override { return {3, 1}; }
  void decode(const Sample&, std::span<const std::byte> bytes, std::uint64_t random_key,
              float* out) const override {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.empty() || text.starts_with("broken"))
      throw Error(ErrorCode::kDataLoss, "not an image");
    if (text.starts_with("bug")) throw Error(ErrorCode::kInternal, "the decoder is wrong");
    out[0] = static_cast<float>(hash64(text) >> 40);
    out[1] = static_cast<float>(random_key >> 40);
    out[2] = static_cast<float>(bytes.size());
  }
};

/// A channel of folder shards (a sample is an object) and tar shards (samples side by side with
/// headers between).
struct TestChannel {
  WatchedStore store;
  Manifest manifest{std::vector<std::string>{"a", "b", "c", "d", "e"}};

  void add_folder(std::size_t samples,
                  const std::function<void(std::size_t, std::string&, Sample&)>& change = {}) {
    add(samples, "", change);
  }
  void add_tar(std::size_t samples) { add(samples, ".tar", {}); }
  /// The same samples as those of add_tar().
  void add_gzip_tar(std::size_t samples) { add(samples, ".tar.gz", {}); }

 private:
  void add(std::size_t count, const std::string& extension,
           const std::function<void(std::size_t, std::string&, Sample&)>& change) {
    const bool tar = !extension.empty();
    const std::string shard = fmt::format("{:03}", manifest.shards().size());
    std::vector<Sample> samples;
    std::map<std::string, std::string> objects;
    for (std::size_t i = 0; i < count; ++i) {
      Sample sample;
      sample.key = fmt::format("{}/{:05}", shard, i);
      sample.label = static_cast<std::int64_t>(i % 5);
      std::string content = sample.key + ";" + std::string(100 + i * 37 % 800, 'x');
      if (change) change(i, content, sample);
      sample.key_hash = hash64(sample.key);
      sample.object = tar ? shard + extension : sample.key + ".img";
      sample.size = content.size();
      std::string& object = objects[sample.object];
      sample.offset = tar ? object.size() + 512 : 0;
      object += tar ? std::string(512, 'h') + content + std::string(1024, 'l') : content;
      samples.push_back(std::move(sample));
    }
    for (const auto& [key, text] : objects) {
      store.put(key, extension == ".tar.gz" ? test::gzip(text) : text);
    }
    manifest.add_shard(samples);
  }
};

struct Scene {
  std::uint32_t virtual_workers = 4;
  std::uint64_t per_step = 3;
  std::uint64_t window = 16;
  std::uint64_t epochs = 2;
  std::uint64_t first_step = 0;
  std::size_t threads = 2;
  std::size_t fetch_threads = 3;
  std::uint64_t prefetch_bytes = 1 << 20;
  std::uint32_t first_worker = 0;  ///< of this rank
  std::uint32_t end_worker = 4;
  MixOptions mix;
};

inline std::uint64_t epoch_steps(const TestChannel& channel, const Scene& scene) {
  return steps_per_epoch(channel.manifest.samples(), scene.virtual_workers, scene.per_step);
}

inline PipelineOptions options_of(const TestChannel& channel, const Scene& scene) {
  PipelineOptions options;
  options.deal.seed = 5;
  options.deal.virtual_workers = scene.virtual_workers;
  options.deal.window = scene.window;
  options.samples_per_virtual_worker = scene.per_step;
  options.steps_per_epoch = epoch_steps(channel, scene);
  options.first_step = scene.first_step;
  options.end_step = scene.epochs * options.steps_per_epoch;
  options.classes = 5;
  options.mix = scene.mix;
  options.threads = scene.threads;
  options.fetch_threads = scene.fetch_threads;
  options.prefetch_bytes = scene.prefetch_bytes;
  return options;
}

inline PlanSource source_of(const TestChannel& channel, const Scene& scene) {
  const DealOptions deal_options = options_of(channel, scene).deal;
  PlanSource source;
  source.runs = [&channel, scene, deal_options](std::uint64_t epoch) {
    DealOptions options = deal_options;
    options.epoch = epoch;
    std::vector<std::uint64_t> counts;
    for (const ShardInfo& shard : channel.manifest.shards()) counts.push_back(shard.samples);
    const auto all = deal(counts, options);
    std::vector<VirtualWorkerRuns> mine;
    for (std::uint32_t v = scene.first_worker; v < scene.end_worker; ++v)
      mine.push_back({v, all[v]});
    return mine;
  };
  source.shards = [&channel](const std::vector<std::uint32_t>& shards) {
    std::vector<std::vector<Sample>> samples;
    samples.reserve(shards.size());
    for (std::uint32_t shard : shards) samples.push_back(channel.manifest.shard(shard));
    return samples;
  };
  return source;
}

inline const HashDecoder kDecoder;

inline std::unique_ptr<Pipeline> start(TestChannel& channel, const Scene& scene) {
  return std::make_unique<Pipeline>(channel.store, kDecoder, source_of(channel, scene),
                                    options_of(channel, scene));
}

/// Only a hang reaches it.
inline Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

inline std::vector<Batch> all_batches(TestChannel& channel, const Scene& scene) {
  const auto pipeline = start(channel, scene);
  std::vector<Batch> batches;
  for (std::uint64_t step = scene.first_step; step < scene.epochs * epoch_steps(channel, scene);
       ++step) {
    batches.push_back(pipeline->next(soon()));
  }
  return batches;
}

inline void expect_equal(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.inputs, b.inputs) << "step " << a.step;
  EXPECT_EQ(a.input_shape, b.input_shape);
  EXPECT_EQ(a.targets, b.targets);
  EXPECT_EQ(a.other_targets, b.other_targets);
  EXPECT_EQ(a.target_shares, b.target_shares);
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.undecodable, b.undecodable);
  EXPECT_EQ(a.undecodable_keys, b.undecodable_keys);
}

inline void expect_equal(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) expect_equal(a[i], b[i]);
}

/// The error of next(), or a failure.
inline Error error_of(Pipeline& pipeline) {
  try {
    pipeline.next(soon());
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "next() gave a batch";
  return Error(ErrorCode::kInternal, "");
}

class PipelineTest : public testing::Test {
 protected:
  PipelineTest() {
    channel_.add_folder(37);
    channel_.add_tar(50);
    channel_.add_folder(3);
    channel_.add_tar(61);
  }
  TestChannel channel_;
};

}  // namespace musher

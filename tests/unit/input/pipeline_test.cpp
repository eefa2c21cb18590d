#include "trainer/input/pipeline.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/checksum.h"
#include "common/error.h"
#include "support/gzip.h"
#include "support/memory_store.h"

namespace musher {
namespace {

using namespace std::chrono_literals;

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

std::uint64_t epoch_steps(const TestChannel& channel, const Scene& scene) {
  return steps_per_epoch(channel.manifest.samples(), scene.virtual_workers, scene.per_step);
}

PipelineOptions options_of(const TestChannel& channel, const Scene& scene) {
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

PlanSource source_of(const TestChannel& channel, const Scene& scene) {
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

const HashDecoder kDecoder;

std::unique_ptr<Pipeline> start(TestChannel& channel, const Scene& scene) {
  return std::make_unique<Pipeline>(channel.store, kDecoder, source_of(channel, scene),
                                    options_of(channel, scene));
}

/// Only a hang reaches it.
Deadline soon() {
  return Deadline::after(60s);
}

std::vector<Batch> all_batches(TestChannel& channel, const Scene& scene) {
  const auto pipeline = start(channel, scene);
  std::vector<Batch> batches;
  for (std::uint64_t step = scene.first_step; step < scene.epochs * epoch_steps(channel, scene);
       ++step) {
    batches.push_back(pipeline->next(soon()));
  }
  return batches;
}

void expect_equal(const Batch& a, const Batch& b) {
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

void expect_equal(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) expect_equal(a[i], b[i]);
}

/// The error of next(), or a failure.
Error error_of(Pipeline& pipeline) {
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

TEST_F(PipelineTest, BatchesDoNotDependOnThreadsOrBudget) {
  Scene plain;
  plain.threads = 1;
  plain.fetch_threads = 1;
  const auto expected = all_batches(channel_, plain);
  for (std::size_t threads : {1, 4}) {
    for (std::uint64_t budget : {0, 3'000, 1 << 28}) {
      SCOPED_TRACE(fmt::format("{} threads, {} bytes", threads, budget));
      Scene scene;
      scene.threads = threads;
      scene.fetch_threads = threads;
      scene.prefetch_bytes = budget;
      expect_equal(expected, all_batches(channel_, scene));
    }
  }
}

TEST_F(PipelineTest, GzipTarsGiveTheSameBatches) {
  TestChannel packed;
  packed.add_folder(37);
  packed.add_gzip_tar(50);
  packed.add_folder(3);
  packed.add_gzip_tar(61);
  Scene scene;
  scene.prefetch_bytes = 3'000;
  int reads = 0;
  std::mutex mutex;
  packed.store.on_read = [&](std::string_view key, std::uint64_t, std::uint64_t) {
    const std::lock_guard lock(mutex);
    if (key.ends_with(".tar.gz")) ++reads;
  };
  expect_equal(all_batches(channel_, scene), all_batches(packed, scene));
  // Once for each window of a virtual worker that has samples of it, never for each sample.
  EXPECT_LE(reads, 2 * (50 + 61) / 16 + 2 * 2 * 4);
}

TEST_F(PipelineTest, EverySampleComesOncePerEpoch) {
  for (std::uint64_t per_step : {1, 3, 40, 1000}) {
    Scene scene;
    scene.per_step = per_step;
    std::map<std::uint64_t, Digest> digests;
    for (const Batch& batch : all_batches(channel_, scene)) {
      EXPECT_EQ(batch.digest.samples, static_cast<std::uint64_t>(batch.samples()));
      EXPECT_EQ(batch.inputs.size(), batch.targets.size() * 3);
      digests[batch.epoch] += batch.digest;
    }
    ASSERT_EQ(digests.size(), 2u);
    for (const auto& [epoch, digest] : digests)
      EXPECT_EQ(digest, epoch_digest(channel_.manifest, epoch));
  }
}

TEST_F(PipelineTest, EpochsDifferInOrderAndInChance) {
  const auto batches = all_batches(channel_, Scene{});
  const std::size_t steps = batches.size() / 2;
  EXPECT_NE(batches[0].inputs, batches[steps].inputs);
}

TEST_F(PipelineTest, TheRanksBatchesTogetherAreThatOfOneRank) {
  Scene mixed;
  mixed.mix = {.mixup_alpha = 0.4, .cutmix_alpha = 1.0};
  for (const Scene& scene : {Scene{}, mixed}) {
    const auto whole = all_batches(channel_, scene);
    for (std::uint32_t split : {1u, 2u, 3u}) {
      Scene low = scene;
      low.end_worker = split;
      Scene high = scene;
      high.first_worker = split;
      const auto first = all_batches(channel_, low);
      const auto second = all_batches(channel_, high);
      for (std::size_t i = 0; i < whole.size(); ++i) {
        Batch both = first[i];
        const auto append = [](auto& to, const auto& from) {
          to.insert(to.end(), from.begin(), from.end());
        };
        append(both.inputs, second[i].inputs);
        append(both.targets, second[i].targets);
        append(both.other_targets, second[i].other_targets);
        append(both.target_shares, second[i].target_shares);
        both.digest += second[i].digest;
        expect_equal(whole[i], both);
      }
    }
  }
}

TEST_F(PipelineTest, MixingStaysInsideAVirtualWorkersPart) {
  Scene mixed;
  mixed.mix = {.mixup_alpha = 1.0, .cutmix_alpha = 0};
  const auto plain = all_batches(channel_, Scene{});
  const auto batches = all_batches(channel_, mixed);
  std::set<float> shares;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_EQ(batches[i].digest, plain[i].digest);
    const std::size_t part = Scene{}.per_step;
    if (plain[i].targets.size() != 4 * part) continue;  // the end of an epoch
    for (std::size_t s = 0; s < plain[i].targets.size(); ++s) {
      const std::size_t before = s % part == 0 ? s + part - 1 : s - 1;
      const float share = batches[i].target_shares[s];
      const bool own_first = batches[i].targets[s] == plain[i].targets[s] &&
                             batches[i].other_targets[s] == plain[i].targets[before];
      const bool other_first = batches[i].targets[s] == plain[i].targets[before] &&
                               batches[i].other_targets[s] == plain[i].targets[s];
      ASSERT_TRUE(own_first || other_first);
      const double own = own_first ? share : 1 - share;
      const double expected =
          own * plain[i].inputs[3 * s + 2] + (1 - own) * plain[i].inputs[3 * before + 2];
      const bool same_label = own_first && other_first;
      if (!same_label) {
        EXPECT_NEAR(batches[i].inputs[3 * s + 2], expected, 1e-2);
      }
      shares.insert(share);
    }
  }
  EXPECT_GT(shares.size(), 20u);
}

TEST_F(PipelineTest, StartedInTheMiddleItGoesOnAsItWould) {
  const auto whole = all_batches(channel_, Scene{});
  for (std::size_t first :
       {std::size_t{1}, whole.size() / 2 - 1, whole.size() / 2, whole.size() - 1}) {
    SCOPED_TRACE(first);
    Scene scene;
    scene.first_step = first;
    const std::vector<Batch> tail(whole.begin() + static_cast<std::ptrdiff_t>(first), whole.end());
    expect_equal(tail, all_batches(channel_, scene));
  }
}

TEST_F(PipelineTest, AVirtualWorkerThatIsUsedUpGivesNothing) {
  TestChannel small;
  small.add_folder(9);  // four virtual workers: 3, 2, 2, 2
  Scene scene;
  scene.per_step = 2;
  scene.epochs = 1;
  scene.first_worker = 1;
  const auto batches = all_batches(small, scene);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].samples() + batches[1].samples(),
            9 - static_cast<std::int64_t>(share(9, 4, 0)));
  scene.first_worker = 4;  // a rank without virtual workers
  for (const Batch& batch : all_batches(small, scene)) {
    EXPECT_EQ(batch.samples(), 0);
    EXPECT_EQ(batch.input_shape, (std::vector<std::int64_t>{3, 1}));
  }
}

TEST_F(PipelineTest, UndecodableSamplesAreLeftOutAndNamed) {
  TestChannel channel;
  const auto is_bad = [](std::size_t i) { return i % 7 == 3; };
  channel.add_folder(60, [&](std::size_t i, std::string& content, Sample&) {
    if (is_bad(i)) content = i == 3 ? "" : "broken";
  });
  Digest digest;
  std::vector<std::string> named;
  Scene scene;
  scene.epochs = 1;
  for (const Batch& batch : all_batches(channel, scene)) {
    digest += batch.digest;
    digest += batch.undecodable;
    EXPECT_EQ(batch.undecodable.samples, batch.undecodable_keys.size());
    EXPECT_EQ(batch.inputs.size(), batch.targets.size() * 3);
    for (std::size_t i = 0; i < batch.targets.size(); ++i)
      EXPECT_GT(batch.inputs[i * 3 + 2], 100) << "a gap in the batch";
    named.insert(named.end(), batch.undecodable_keys.begin(), batch.undecodable_keys.end());
  }
  EXPECT_EQ(digest, epoch_digest(channel.manifest, 0));
  std::vector<std::string> expected;
  for (std::size_t i = 0; i < 60; ++i) {
    if (is_bad(i)) expected.push_back(fmt::format("000/{:05}: not an image", i));
  }
  EXPECT_THAT(named, testing::UnorderedElementsAreArray(expected));
}

TEST_F(PipelineTest, ATarIsReadInFewRangesAndNoByteTwice) {
  TestChannel channel;
  channel.add_tar(1000);
  std::mutex mutex;
  std::map<std::uint64_t, std::uint64_t> ranges;
  channel.store.on_read = [&](std::string_view, std::uint64_t offset, std::uint64_t length) {
    std::lock_guard lock(mutex);
    EXPECT_TRUE(ranges.emplace(offset, length).second) << "read twice from " << offset;
  };
  Scene scene;
  scene.window = 256;
  scene.epochs = 1;
  all_batches(channel, scene);
  EXPECT_EQ(ranges.size(), 4u) << "one window of each virtual worker, one read each";
  std::uint64_t end = 0;
  for (const auto& [offset, length] : ranges) {
    EXPECT_GE(offset, end);
    end = offset + length;
  }
}

TEST_F(PipelineTest, NoMoreIsReadAheadThanTheBudgetAndTheNextSteps) {
  TestChannel channel;
  channel.add_folder(2000);
  Scene scene;
  scene.epochs = 1;
  scene.prefetch_bytes = 40'000;
  std::atomic<std::uint64_t> read = 0;
  std::atomic<std::uint64_t> delivered = 0;
  std::atomic<std::uint64_t> most_ahead = 0;
  channel.store.on_read = [&](std::string_view, std::uint64_t, std::uint64_t length) {
    const std::uint64_t ahead = (read += length) - delivered;
    std::uint64_t most = most_ahead;
    while (ahead > most && !most_ahead.compare_exchange_weak(most, ahead)) {
    }
  };
  const auto pipeline = start(channel, scene);
  for (std::uint64_t step = 0; step < epoch_steps(channel, scene); ++step) {
    const Batch batch = pipeline->next(soon());
    for (std::size_t i = 0; i < batch.targets.size(); ++i)
      delivered += static_cast<std::uint64_t>(batch.inputs[i * 3 + 2]);
  }
  // A step of 12 samples has at most 11 kB. Planning goes past the budget by one, one may be on its
  // way to this thread, and one is being read.
  EXPECT_LE(most_ahead, 40'000 + 3 * 11'000u);
  EXPECT_GT(most_ahead, 11'000u) << "nothing was read ahead";
}

TEST_F(PipelineTest, TheNextEpochIsAskedForAhead) {
  Scene scene;
  scene.per_step = 20;  // two steps an epoch
  scene.epochs = 50;
  PlanSource source = source_of(channel_, scene);
  std::promise<void> asked;
  std::atomic<std::uint64_t> latest = 0;
  source.runs = [&, runs = source.runs](std::uint64_t epoch) {
    if (epoch == 1) asked.set_value();
    latest = epoch;
    return runs(epoch);
  };
  Pipeline pipeline(channel_.store, kDecoder, source, options_of(channel_, scene));
  EXPECT_EQ(asked.get_future().wait_for(60s), std::future_status::ready);
  pipeline.next(soon());
  EXPECT_LE(latest, 1u) << "and not the one after";
}

TEST_F(PipelineTest, AStoreErrorComesAtItsStepUnchangedAndAgain) {
  const auto expected = all_batches(channel_, Scene{});
  channel_.store.on_read = [&](std::string_view key, std::uint64_t, std::uint64_t) {
    if (key.starts_with("002"))
      throw Error(ErrorCode::kUnavailable, "s3://bucket/data: 503 SlowDown");
  };
  const auto pipeline = start(channel_, Scene{});
  std::size_t steps = 0;
  try {
    while (steps < expected.size()) {
      expect_equal(expected[steps], pipeline->next(soon()));
      ++steps;
    }
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_STREQ(error.what(), "s3://bucket/data: 503 SlowDown");
  }
  EXPECT_LT(steps, expected.size() / 2);
  for (int i = 0; i < 2; ++i) {
    const Error again = error_of(*pipeline);
    EXPECT_EQ(again.code(), ErrorCode::kUnavailable);
    EXPECT_STREQ(again.what(), "s3://bucket/data: 503 SlowDown");
  }
}

TEST_F(PipelineTest, ALabelOutsideTheClassesNamesTheSample) {
  for (std::int64_t label : {-1, 5}) {
    TestChannel channel;
    channel.add_folder(20, [&](std::size_t i, std::string&, Sample& sample) {
      if (i == 8) sample.label = label;
    });
    Scene scene;
    scene.per_step = 5;
    const auto pipeline = start(channel, scene);
    const Error error = error_of(*pipeline);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()),
              fmt::format("sample 000/00008: label {} is outside of the 5 classes", label));
  }
}

TEST_F(PipelineTest, AnErrorOfThePlanSourceOrTheDecoderIsHandedOn) {
  PlanSource source = source_of(channel_, Scene{});
  source.shards = [](const std::vector<std::uint32_t>&) -> std::vector<std::vector<Sample>> {
    throw Error(ErrorCode::kDeadlineExceeded, "the coordinator does not answer");
  };
  Pipeline lost(channel_.store, kDecoder, source, options_of(channel_, Scene{}));
  EXPECT_EQ(error_of(lost).code(), ErrorCode::kDeadlineExceeded);

  source = source_of(channel_, Scene{});
  source.shards = [](const std::vector<std::uint32_t>& shards) {
    return std::vector<std::vector<Sample>>(shards.size());
  };
  Pipeline shortened(channel_.store, kDecoder, source, options_of(channel_, Scene{}));
  EXPECT_EQ(error_of(shortened).code(), ErrorCode::kDataLoss);

  TestChannel channel;
  channel.add_folder(20, [](std::size_t i, std::string& content, Sample&) {
    if (i == 8) content = "bug";
  });
  Scene scene;
  scene.per_step = 5;
  EXPECT_STREQ(error_of(*start(channel, scene)).what(), "the decoder is wrong");
}

TEST_F(PipelineTest, ADeadlinePassesAndTheBatchStillComes) {
  const auto expected = all_batches(channel_, Scene{});
  std::promise<void> open;
  std::shared_future<void> gate = open.get_future().share();
  channel_.store.on_read = [gate](std::string_view, std::uint64_t, std::uint64_t) { gate.wait(); };
  const auto pipeline = start(channel_, Scene{});
  for (int i = 0; i < 2; ++i) {
    try {
      pipeline->next(Deadline::after(20ms));
      FAIL() << "a batch out of nothing";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
      EXPECT_THAT(error.what(), testing::HasSubstr("step 0"));
    }
  }
  EXPECT_GE(pipeline->waited_seconds(), 0.039);
  open.set_value();
  expect_equal(expected[0], pipeline->next(soon()));
  expect_equal(expected[1], pipeline->next(soon()));
}

TEST_F(PipelineTest, DestroyedWhileItsQueuesAreFullOrItsReadsWait) {
  { const auto idle = start(channel_, Scene{}); }
  {
    Scene scene;
    scene.prefetch_bytes = 0;
    const auto full = start(channel_, scene);
    full->next(soon());
  }
  std::promise<void> entered;
  std::promise<void> open;
  std::once_flag once;
  std::shared_future<void> gate = open.get_future().share();
  channel_.store.on_read = [&](std::string_view, std::uint64_t, std::uint64_t) {
    std::call_once(once, [&] { entered.set_value(); });
    gate.wait();
  };
  Scene scene;
  scene.fetch_threads = 1;
  auto waiting = start(channel_, scene);
  entered.get_future().wait();
  std::thread opener([&] { open.set_value(); });
  waiting.reset();
  opener.join();
}

TEST_F(PipelineTest, TheLastStepIsTheLast) {
  Scene scene;
  scene.epochs = 1;
  const auto pipeline = start(channel_, scene);
  for (std::uint64_t step = 0; step < epoch_steps(channel_, scene); ++step) pipeline->next(soon());
  EXPECT_EQ(error_of(*pipeline).code(), ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace musher

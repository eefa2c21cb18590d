#include "trainer/checkpoint.h"

#include <fstream>

#include <gtest/gtest.h>

#include "checkpoint_testing.h"
#include "support/expect_error.h"

namespace musher::test {
namespace {

class Checkpoint : public testing::Test {
 protected:
  std::string uri(std::uint64_t step) const {
    return root_
        .join("step-" + std::string(step < 10 ? "000000000" : "00000000") + std::to_string(step) +
              ".job.1.1")
        .str();
  }
  std::filesystem::path file(std::uint64_t step, const std::string& name) const {
    return Uri::parse(uri(step)).path + "/" + name;
  }
  void write(std::uint64_t step, int ranks = 2) {
    commit_slices(*store_, save(*store_, step, ranks));
  }

  LoadedCheckpoint load(const std::vector<std::uint64_t>& steps, Rank& rank, Slicing own = {0, 2},
                        const CheckpointIdentity& mine = identity()) {
    std::vector<std::string> candidates;
    for (const std::uint64_t step : steps) candidates.push_back(uri(step));
    return load_newest_checkpoint(candidates, {}, mine, own, rank.tensors(), rank.optimizer);
  }

  void cut(const std::filesystem::path& path) {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 4);
  }
  void flip(const std::filesystem::path& path, std::streamoff from_end) {
    std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-from_end, std::ios::end);
    const char byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(-from_end, std::ios::end);
    stream.put(byte);
  }

  ScratchFolder folder_;
  Uri root_ = Uri::parse("file://" + folder_.path().string());
  std::unique_ptr<ObjectStore> store_ = open_store(root_, {});
};

TEST_F(Checkpoint, ComesBackAsItWasOnAnyNumberOfRanks) {
  for (const int writers : {1, 2, 3}) {
    const auto step = static_cast<std::uint64_t>(writers);
    write(step, writers);
    for (const Slicing own : {Slicing{0, 1}, Slicing{1, 2}, Slicing{2, 3}}) {
      Rank rank;
      const LoadedCheckpoint loaded = load({step}, rank, own);
      EXPECT_TRUE(rank.is(static_cast<double>(step))) << writers << " to " << own.slices;
      EXPECT_EQ(loaded.state.step, step);
      EXPECT_EQ(loaded.state.tally.digest, (Digest{step, 7 * step}));
      EXPECT_EQ(loaded.state.tally.undecodable, (Digest{1, 2}));
      EXPECT_EQ(loaded.state.tally.loss_sum, 0.5);
      EXPECT_EQ(rank.optimizer.steps(), progress_at(step).steps);
      EXPECT_EQ(rank.optimizer.loss_scale(), progress_at(step).loss_scale);
      if (own.slices == writers) {
        EXPECT_EQ(loaded.state.samples_trained, 10 * step + static_cast<std::uint64_t>(own.slice));
      }
      EXPECT_TRUE(loaded.notices.empty());
    }
  }
}

// The writer's memory is used again: what is larger than the next state must not stick to it.
TEST_F(Checkpoint, TheSameWriterWritesForAnotherGeneration) {
  Rank rank;
  std::vector<SliceWritten> slices;
  CheckpointWriter writer(*store_, identity(),
                          {[&](const SliceWritten& slice) { slices.push_back(slice); }, {}});
  TrainingState state;
  state.step = 1;
  rank.fill(1);
  writer.save(state, "job.1.1", {0, 1}, rank.tensors());
  state.step = 2;
  rank.fill(2);
  writer.save(state, "job.1.2", {0, 2}, rank.tensors());
  writer.save(state, "job.1.2", {1, 2}, rank.tensors());
  writer.wait();
  ASSERT_EQ(slices.size(), 3u);
  EXPECT_NE(slices[0].checkpoint, slices[1].checkpoint);
  commit_slices(*store_, {slices[0]});
  commit_slices(*store_, {slices[1], slices[2]});
  for (const int step : {1, 2}) {
    Rank other;
    const auto store =
        open_store(root_.join(slices[static_cast<std::size_t>(step) - 1].checkpoint), {});
    EXPECT_EQ(load_checkpoint(*store, identity(), {0, 1}, other.tensors(), other.optimizer).step,
              static_cast<std::uint64_t>(step));
    EXPECT_TRUE(other.is(step));
  }
}

TEST_F(Checkpoint, ADamagedSliceIsFoundAndTheOneBeforeIsTaken) {
  const std::string slice = "slice-00001-of-00002.safetensors";
  const std::vector<std::pair<std::string, std::function<void()>>> damages = {
      {"bytes instead of", [&] { cut(file(3, slice)); }},
      {"checksum", [&] { flip(file(3, slice), 9); }},
      {"checksum", [&] { flip(file(3, slice), 2000); }},
      {"instead of", [&] { std::ofstream(file(3, slice), std::ios::trunc).flush(); }},
      {"no such", [&] { std::filesystem::remove(file(3, slice)); }},
      {"manifest", [&] { cut(file(3, "manifest.json")); }},
      {"manifest", [&] { std::filesystem::remove(file(3, "manifest.json")); }},
  };
  write(2);
  for (const auto& [why, damage] : damages) {
    write(3);
    damage();
    Rank rank;
    const LoadedCheckpoint loaded = load({3, 2}, rank);
    EXPECT_EQ(loaded.uri, uri(2));
    EXPECT_EQ(loaded.state.step, 2u);
    EXPECT_TRUE(rank.is(2)) << "nothing of the damaged one may stick";
    ASSERT_EQ(loaded.notices.size(), 1u);
    EXPECT_THAT(loaded.notices[0], testing::HasSubstr(uri(3)));
    EXPECT_THAT(loaded.notices[0], testing::HasSubstr(why));
  }
}

TEST_F(Checkpoint, WhereNoneIsLeftAllAreNamed) {
  for (const std::uint64_t step : {1, 2}) {
    write(step);
    cut(file(step, "slice-00000-of-00002.safetensors"));
  }
  Rank rank;
  rank.fill(9);
  expect_error(ErrorCode::kDataLoss, {uri(1), uri(2), "start from the beginning"}, [&] {
    load({2, 1}, rank);
  });
  EXPECT_TRUE(rank.is(9));
}

TEST_F(Checkpoint, OneOfAnotherTrainingIsRefusedAtOnce) {
  write(1);
  write(2);
  CheckpointIdentity other = identity();
  other.virtual_workers = 8;
  other.batch_size = 16;
  Rank rank;
  expect_error(ErrorCode::kFailedPrecondition, {uri(2), "virtual_workers", "batch_size"}, [&] {
    load({2, 1}, rank, {0, 2}, other);
  });
}

TEST_F(Checkpoint, AStoreThatCannotBeReadIsNoDamage) {
  StorageConfig nowhere;
  nowhere.s3_endpoint = "http://127.0.0.1:1";
  nowhere.retry_limit = std::chrono::milliseconds(0);
  nowhere.s3_region = "us-east-1";
  Rank rank;
  const auto error = error_of([&] {
    load_newest_checkpoint({"s3://bucket/step-2", uri(1)}, nowhere, identity(), {0, 1},
                           rank.tensors(), rank.optimizer);
  });
  ASSERT_TRUE(error);
  EXPECT_NE(error->code(), ErrorCode::kDataLoss) << error->what();
}

TEST_F(Checkpoint, ASliceThatCannotBeWrittenIsToldAndTheOneBeforeStays) {
  write(1);
  std::ofstream(Uri::parse(uri(2)).path);  // a file where the folder should be
  std::vector<std::string> failures;
  EXPECT_TRUE(save(*store_, 2, 1, &failures).empty());
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_THAT(failures[0], testing::HasSubstr("checkpoint of step 2"));
  EXPECT_THAT(failures[0], testing::HasSubstr(uri(2)));
  Rank rank;
  EXPECT_EQ(load({1}, rank).state.step, 1u);
}

}  // namespace
}  // namespace musher::test

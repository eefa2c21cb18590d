#include "coordinator/checkpoints.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "coordinator/temporary_folder.h"
#include "support/expect_error.h"

namespace musher {
namespace {

class CheckpointsTest : public testing::Test {
 protected:
  void put(const std::string& key, const std::string& text) {
    store_->put(key, std::as_bytes(std::span(text)));
  }
  static std::vector<SliceRecord> slices(const std::string& folder, std::uint64_t step) {
    return {{folder, step, 0, 2, "a", 1, 0xab, R"({"x": 1})"},
            {folder, step, 1, 2, "b", 2, 0xcd, R"({"x": 1})"}};
  }

  TemporaryFolder folder_{"musher-test"};
  std::unique_ptr<ObjectStore> store_ =
      open_store(Uri::parse("file://" + folder_.path().string()), {});
};

TEST_F(CheckpointsTest, TheHighestStepComesFirstNotTheLastName) {
  commit_checkpoint(*store_, slices("step-100", 100));
  commit_checkpoint(*store_, slices("step-90", 90));
  commit_checkpoint(*store_, slices("step-95", 95));
  const CheckpointSearch search = find_checkpoints(*store_);
  ASSERT_EQ(search.found.size(), 3u);
  EXPECT_EQ(search.found[0].folder, "step-100");
  EXPECT_EQ(search.found[0].step, 100u);
  EXPECT_EQ(search.found[1].folder, "step-95");
  EXPECT_EQ(search.found[2].folder, "step-90");
  EXPECT_TRUE(search.notices.empty());
}

TEST_F(CheckpointsTest, OneWithoutItsManifestWasNeverCommitted) {
  put("step-7/a", "slice");
  put("step-7/deeper/manifest.json", "{}");
  put("manifest.json", "{}");
  const CheckpointSearch search = find_checkpoints(*store_);
  EXPECT_TRUE(search.found.empty());
  EXPECT_TRUE(search.notices.empty());
}

TEST_F(CheckpointsTest, AManifestThatIsDamagedIsPassedOverAndNamed) {
  commit_checkpoint(*store_, slices("good", 5));
  const std::string text = checkpoint_manifest(slices("x", 7));
  put("cut/manifest.json", text.substr(0, text.size() - 10));
  put("other/manifest.json", R"({"format": "something else", "step": 9})");
  put("older/manifest.json", R"({"format": "musher-checkpoint-2", "step": 9})");
  put("stepless/manifest.json", R"({"format": "musher-checkpoint-3"})");
  std::string flipped = text;
  flipped[flipped.find('7')] = '9';
  put("flipped/manifest.json", flipped);
  const CheckpointSearch search = find_checkpoints(*store_);
  ASSERT_EQ(search.found.size(), 1u);
  EXPECT_EQ(search.found[0].folder, "good");
  ASSERT_EQ(search.notices.size(), 5u);
  const std::string all = fmt::format("{}", fmt::join(search.notices, "\n"));
  for (const char* name : {"cut", "other", "older", "stepless", "flipped"}) {
    EXPECT_NE(all.find(std::string(name) + "/manifest.json"), std::string::npos) << all;
  }
}

// To begin from the first step without a word would throw away what the user believes is kept.
TEST_F(CheckpointsTest, WhereAllAreDamagedTheSearchFailsAndNamesThem) {
  put("one/manifest.json", "{");
  put("two/manifest.json", "");
  test::expect_error(ErrorCode::kDataLoss,
                     {"one/manifest.json", "two/manifest.json", "start from the beginning"},
                     [&] { find_checkpoints(*store_); });
}

TEST_F(CheckpointsTest, TheManifestSaysWhatTheSlicesMustBe) {
  const auto manifest = nlohmann::json::parse(checkpoint_manifest(slices("s", 3)));
  EXPECT_EQ(manifest["step"], 3);
  EXPECT_EQ(manifest["header"]["x"], 1);
  EXPECT_EQ(manifest["slices"][1]["key"], "b");
  EXPECT_EQ(manifest["slices"][1]["size"], 2);
  EXPECT_EQ(manifest["slices"][1]["checksum"], "00000000000000cd");
}

TEST_F(CheckpointsTest, SlicesOfTwoStatesAreNeverCommittedTogether) {
  auto mixed = slices("s", 3);
  mixed[1].header = R"({"x": 2})";
  EXPECT_THROW(commit_checkpoint(*store_, mixed), Error);
  EXPECT_TRUE(find_checkpoints(*store_).found.empty());
}

TEST_F(CheckpointsTest, RemovingOneLeavesItsNeighbours) {
  commit_checkpoint(*store_, slices("step-1", 1));
  commit_checkpoint(*store_, slices("step-10", 10));
  put("step-1/a", "slice");
  remove_checkpoint(*store_, "step-1");
  const auto left = list_sorted(*store_, "");
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].key, "step-10/manifest.json");
}

TEST_F(CheckpointsTest, ANameIsTakenApartAndNoOtherIsTakenForOne) {
  const auto name = parse_checkpoint_name("step-0000000417.my-job.2.13");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->step, 417u);
  EXPECT_EQ(name->job, "my-job");
  EXPECT_EQ(name->attempt, 2u);
  EXPECT_EQ(name->generation, 13u);
  for (const char* other :
       {"", "step-1", "step-1.job.1", "step-x.job.1.1", "step-1.job.1.1.1", "step-1.job.1.x",
        "step-.job.1.1", "photos", "my.step-1.job.1.1", "step--1.job.1.1"}) {
    EXPECT_FALSE(parse_checkpoint_name(other)) << other;
  }
}

TEST_F(CheckpointsTest, TheSweepTakesWhatACrashLeftOfThisJobAndNothingElse) {
  commit_checkpoint(*store_, slices("step-0000000001.job.1.1", 1));
  put("step-0000000001.job.1.1/a", "slice");
  put("step-0000000002.job.1.1/a", "slice");
  put("step-0000000003.job.1.1/.musher-upload-0", "half of one: no listing shows it");
  put("step-0000000002.other.1.1/a", "another job's");
  put("step-0000000002.job-2.1.1/a", "another job's");
  put("step-2/a", "no checkpoint's name");
  put("photos/a", "something else");
  const auto swept = sweep_checkpoints(*store_, "job");
  EXPECT_THAT(swept,
              testing::UnorderedElementsAre("step-0000000002.job.1.1", "step-0000000003.job.1.1"));
  EXPECT_THAT(store_->folders(""),
              testing::UnorderedElementsAre("step-0000000001.job.1.1", "step-0000000002.other.1.1",
                                            "step-0000000002.job-2.1.1", "step-2", "photos"));
  EXPECT_EQ(find_checkpoints(*store_).found.size(), 1u);
}

TEST_F(CheckpointsTest, TheNewestStayAndWhatNoRankWritesAnyMoreGoes) {
  const auto folder = [](int step, const char* job = "job") {
    return fmt::format("step-{:010}.{}.1.1", step, job);
  };
  for (const int step : {1, 2, 3, 5, 6}) commit_checkpoint(*store_, slices(folder(step), 0));
  commit_checkpoint(*store_, slices(folder(1, "other"), 1));
  put(folder(4) + "/a", "never committed: a rank could not write its slice");
  put(folder(7) + "/a", "being written");
  // 1 to 3 are there from an earlier run; this coordinator has committed 5 and 6.
  prune_checkpoints(*store_, {"job", 6, 3, {folder(5), folder(6)}});
  EXPECT_THAT(store_->folders(""), testing::UnorderedElementsAre(folder(3), folder(5), folder(6),
                                                                 folder(7), folder(1, "other")));
  // After going back to 3, since 5 and 6 were found damaged: what was committed last counts.
  commit_checkpoint(*store_, slices(folder(4), 4));
  prune_checkpoints(*store_, {"job", 4, 1, {folder(5), folder(6), folder(4)}});
  EXPECT_THAT(store_->folders(""),
              testing::UnorderedElementsAre(folder(4), folder(7), folder(1, "other")));
}

}  // namespace
}  // namespace musher

#include "coordinator/checkpoints.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
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
  put("stepless/manifest.json", R"({"format": "musher-checkpoint-2"})");
  std::string flipped = text;
  flipped[flipped.find("7")] = '9';
  put("flipped/manifest.json", flipped);
  const CheckpointSearch search = find_checkpoints(*store_);
  ASSERT_EQ(search.found.size(), 1u);
  EXPECT_EQ(search.found[0].folder, "good");
  ASSERT_EQ(search.notices.size(), 4u);
  const std::string all = fmt::format("{}", fmt::join(search.notices, "\n"));
  for (const char* name : {"cut", "other", "stepless", "flipped"}) {
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

}  // namespace
}  // namespace musher

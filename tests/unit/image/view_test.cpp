#include "image/view.h"

#include <set>
#include <utility>

#include <gtest/gtest.h>

namespace musher {
namespace {

ViewRule rule(int size, Augmentation augmentation) {
  ViewRule result;
  result.size = size;
  result.augmentation = augmentation;
  return result;
}

TEST(ViewTest, EvaluationTakesTheMiddle) {
  const View view = evaluation_view(500, 375, {.size = 224});
  EXPECT_EQ(view.resized_height, 256);
  EXPECT_EQ(view.resized_width, 341);
  EXPECT_EQ(view.window_top, 16);
  EXPECT_EQ(view.window_left, 58);  // 58.5, to even as Python rounds
  EXPECT_FALSE(view.mirrored);
}

TEST(ViewTest, EvaluationResizesTheShorterSideAsAskedFor) {
  const View view = evaluation_view(333, 500, {.size = 32, .resize_size = 40});
  EXPECT_EQ(view.resized_width, 40);
  EXPECT_EQ(view.resized_height, 60);
  EXPECT_EQ(view.window_left, 4);
  EXPECT_EQ(view.window_top, 14);
}

TEST(ViewTest, RandomCropsFollowTheGivenAreaAndRatio) {
  Random random{1};
  ViewRule narrow = rule(224, Augmentation::kRandomResizedCrop);
  narrow.crop_area = {0.25, 0.3};
  narrow.crop_ratio = {1.5, 1.6};
  for (int i = 0; i < 1'000; ++i) {
    const View view = choose_view(400, 300, narrow, random);
    EXPECT_NEAR(view.width * view.height / 120'000.0, 0.275, 0.03);
    EXPECT_NEAR(static_cast<double>(view.width) / view.height, 1.55, 0.07);
  }
}

TEST(ViewTest, TinyPicturesAreNotCut) {
  const View view = evaluation_view(28, 30, {.size = 28});
  EXPECT_EQ(view.resized_width, 28);
  EXPECT_EQ(view.resized_height, 28);
  EXPECT_EQ(view.window_left, 0);
}

TEST(ViewTest, RandomCropsStayInsideAndCoverTorchvisionsRange) {
  Random random{1};
  double area = 0;
  int mirrored = 0;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) {
    const View view = choose_view(400, 300, rule(224, Augmentation::kRandomResizedCrop), random);
    ASSERT_GE(view.left, 0);
    ASSERT_GE(view.top, 0);
    ASSERT_LE(view.left + view.width, 400);
    ASSERT_LE(view.top + view.height, 300);
    const double share = view.width * view.height / 120'000.0;
    const double ratio = static_cast<double>(view.width) / view.height;
    ASSERT_GT(share, 0.078);
    ASSERT_GT(ratio, 0.74);
    ASSERT_LT(ratio, 1.35);
    area += share;
    mirrored += view.mirrored ? 1 : 0;
  }
  // torchvision 0.26's get_params gives 0.5147 for this shape; the standard error of 20,000 draws
  // is 0.002.
  EXPECT_NEAR(area / kDraws, 0.4337, 0.01);
  EXPECT_NEAR(static_cast<double>(mirrored) / kDraws, 0.5, 0.02);
}

TEST(ViewTest, PicturesTooNarrowForAnyTryGiveTheirMiddle) {
  Random random{1};
  const View view = choose_view(1000, 10, rule(224, Augmentation::kRandomResizedCrop), random);
  EXPECT_EQ(view.height, 10);
  EXPECT_EQ(view.width, 13);
  EXPECT_EQ(view.left, 493);
}

TEST(ViewTest, CropFlipReachesEveryShiftOfAnEighth) {
  Random random{1};
  std::set<std::pair<int, int>> shifts;
  for (int i = 0; i < 2'000; ++i) {
    const View view = choose_view(28, 28, rule(28, Augmentation::kCropFlip), random);
    ASSERT_LE(std::abs(view.shift_x), 3);
    ASSERT_LE(std::abs(view.shift_y), 3);
    shifts.emplace(view.shift_x, view.shift_y);
  }
  EXPECT_EQ(shifts.size(), 49u);
}

TEST(ViewTest, NoAugmentationDrawsNothing) {
  Random used{3};
  Random untouched{3};
  choose_view(400, 300, rule(224, Augmentation::kNone), used);
  EXPECT_EQ(used.next(), untouched.next());
}

}  // namespace
}  // namespace musher

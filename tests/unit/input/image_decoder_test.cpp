#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "image/jpeg_image.h"
#include "image/view.h"
#include "trainer/input/image_samples.h"

namespace musher {
namespace {

namespace fs = std::filesystem;

/// Values in [0, 255], as the expected files have them.
ImageTransform raw_transform(std::int64_t size, std::int64_t channels, Augmentation augmentation) {
  ImageTransform transform;
  transform.size = size;
  transform.channels = channels;
  transform.mean.assign(static_cast<std::size_t>(channels), 0.0);
  transform.std.assign(static_cast<std::size_t>(channels), 1.0 / 255.0);
  transform.augmentation = augmentation;
  return transform;
}

std::vector<std::byte> read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

std::vector<float> read_floats(const fs::path& path) {
  const std::vector<std::byte> bytes = read_bytes(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte*>(values.data()));
  return values;
}

std::vector<float> decoded(const SampleDecoder& decoder, const std::vector<std::byte>& bytes,
                           std::uint64_t key = 0) {
  std::size_t count = 1;
  for (std::int64_t length : decoder.input_shape()) count *= static_cast<std::size_t>(length);
  std::vector<float> out(count, -1e9f);
  decoder.decode({}, bytes, key, out.data());
  return out;
}

/// Mean absolute difference; a shift by a pixel or swapped channels gives tens.
double mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    sum += std::abs(double{a[i]} - b[i]);
  return sum / static_cast<double>(a.size());
}

struct ViewCase {
  std::string name;
  std::string file;
  int width;
  int height;
  int size;
  Augmentation augmentation;
  std::uint64_t key;
  double tolerance;

  View view() const {
    Random random{key};
    ViewRule rule;
    rule.size = size;
    rule.augmentation = augmentation;
    return choose_view(width, height, rule, random);
  }
};

std::vector<ViewCase> view_cases() {
  std::vector<ViewCase> cases;
  for (std::uint64_t key = 0; key < 12; ++key) {
    const auto add = [&](const char* file, int width, int height, int size,
                         Augmentation augmentation, double tolerance) {
      cases.push_back({fmt::format("view{}", cases.size()), file, width, height, size, augmentation,
                       key, tolerance});
    };
    add("rgb.png", 333, 250, 100, Augmentation::kRandomResizedCrop, 0.4);
    add("420.jpg", 333, 250, 224, Augmentation::kRandomResizedCrop, 0.5);
    add("eighth.jpg", 1100, 900, 96, Augmentation::kRandomResizedCrop, 0.9);
    add("tiny.png", 28, 28, 28, Augmentation::kCropFlip, 0.4);
    add("444.jpg", 333, 250, 224, Augmentation::kCropFlip, 0.5);
    add("tall.jpg", 180, 400, 128, Augmentation::kFlip, 0.5);
    add("turned6.jpg", 250, 333, 224, Augmentation::kRandomResizedCrop, 0.5);
    add("turned3.png", 91, 160, 64, Augmentation::kCropFlip, 0.4);
    add("turned7.webp", 91, 160, 64, Augmentation::kRandomResizedCrop, 0.4);
    add("turned8.png", 160, 91, 64, Augmentation::kCropFlip, 0.4);
  }
  return cases;
}

/// Lets PIL make the pictures and the expected results, once.
class ImageDecoderTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::temp_directory_path() / "musher-images-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::ofstream views(folder_ / "views.txt");
    for (const ViewCase& c : view_cases()) {
      const View v = c.view();
      views << fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {}\n", c.name, c.file, c.size,
                           v.left, v.top, v.width, v.height, v.resized_width, v.resized_height,
                           v.window_left, v.window_top, v.shift_x, v.shift_y, int{v.mirrored});
    }
    views.close();
    const std::string command =
        fmt::format("'{}' '{}' '{}'", IMAGE_CASES_PYTHON, IMAGE_CASES_SCRIPT, folder_.string());
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static inline fs::path folder_;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
};

TEST_F(ImageDecoderTest, EvaluationEqualsPil) {
  std::ifstream cases(folder_ / "cases.txt");
  std::string file;
  int size = 0;
  int channels = 0;
  double tolerance = 0;
  int count = 0;
  while (cases >> file >> size >> channels >> tolerance) {
    SCOPED_TRACE(fmt::format("{} to {} with {} channels", file, size, channels));
    const auto decoder = make_image_decoder(raw_transform(size, channels, Augmentation::kNone));
    const auto expected = read_floats(folder_ / fmt::format("{}.{}.{}.f32", file, size, channels));
    EXPECT_LT(mean_difference(decoded(*decoder, read_bytes(folder_ / file)), expected), tolerance);
    ++count;
  }
  EXPECT_GE(count, 170);
}

TEST_F(ImageDecoderTest, AugmentedViewsEqualPil) {
  for (const ViewCase& c : view_cases()) {
    SCOPED_TRACE(fmt::format("{}: {} to {} with key {}", c.name, c.file, c.size, c.key));
    const auto decoder = make_image_decoder(raw_transform(c.size, 3, c.augmentation));
    const auto result = decoded(*decoder, read_bytes(folder_ / c.file), c.key);
    EXPECT_LT(mean_difference(result, read_floats(folder_ / (c.name + ".f32"))), c.tolerance);
  }
}

TEST_F(ImageDecoderTest, BrokenFilesAreDataLossWhateverTheView) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "broken")) {
    SCOPED_TRACE(entry.path().filename());
    const auto bytes = read_bytes(entry.path());
    for (Augmentation augmentation : {Augmentation::kNone, Augmentation::kRandomResizedCrop}) {
      for (std::int64_t size : {32, 224}) {
        const auto decoder = make_image_decoder(raw_transform(size, 3, augmentation));
        for (std::uint64_t key = 0; key < 4; ++key) {
          try {
            decoded(*decoder, bytes, key);
            ADD_FAILURE() << "was decoded at size " << size;
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
            EXPECT_STRNE(error.what(), "");
          }
        }
      }
    }
    ++count;
  }
  EXPECT_GE(count, 50);
}

TEST_F(ImageDecoderTest, APartOfAJpegEqualsThatPartOfTheWhole) {
  Random random{7};
  for (const char* file : {"444.jpg", "422.jpg", "420.jpg", "progressive.jpg", "grey.jpg",
                           "cmyk.jpg", "half.jpg", "reduced_progressive.jpg"}) {
    const auto bytes = read_bytes(folder_ / file);
    for (int denominator : {1, 2, 4, 8}) {
      JpegImage whole_image(bytes);
      const int width = (whole_image.width() + denominator - 1) / denominator;
      const int height = (whole_image.height() + denominator - 1) / denominator;
      const Pixels whole = whole_image.read(3, denominator, {0, 0, width, height});
      for (int i = 0; i < 20; ++i) {
        Rectangle part;
        part.left = static_cast<int>(random.below(static_cast<std::uint64_t>(width)));
        part.top = static_cast<int>(random.below(static_cast<std::uint64_t>(height)));
        part.right = part.left + 1 +
                     static_cast<int>(random.below(static_cast<std::uint64_t>(width - part.left)));
        part.bottom = part.top + 1 +
                      static_cast<int>(random.below(static_cast<std::uint64_t>(height - part.top)));
        SCOPED_TRACE(fmt::format("{} 1/{} [{}, {}) x [{}, {})", file, denominator, part.left,
                                 part.right, part.top, part.bottom));
        JpegImage image(bytes);
        const Pixels pixels = image.read(3, denominator, part);
        ASSERT_LE(pixels.left, part.left);
        ASSERT_GE(pixels.left + pixels.width, part.right);
        const std::ptrdiff_t left = part.left, right = part.right;
        for (int y = part.top; y < part.bottom; ++y) {
          ASSERT_TRUE(std::equal(whole.row(y) + left * 3, whole.row(y) + right * 3,
                                 pixels.row(y - pixels.top) + (left - pixels.left) * 3))
              << "row " << y;
        }
      }
    }
  }
}

TEST_F(ImageDecoderTest, NormalisesEachChannelByItsOwnNumbers) {
  ImageTransform transform = raw_transform(64, 3, Augmentation::kNone);
  const auto bytes = read_bytes(folder_ / "rgb.png");
  const auto raw = decoded(*make_image_decoder(transform), bytes);
  transform.mean = {0.1, 0.2, 0.3};
  transform.std = {0.5, 0.25, 2.0};
  const auto normalised = decoded(*make_image_decoder(transform), bytes);
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const std::size_t c = i / (std::size_t{64} * 64);
    ASSERT_NEAR(normalised[i], (raw[i] / 255 - transform.mean[c]) / transform.std[c], 1e-5);
  }
}

TEST_F(ImageDecoderTest, TheSameKeyGivesTheSameBitsAndAnotherKeyAnotherView) {
  const auto decoder = make_image_decoder(raw_transform(64, 3, Augmentation::kRandomResizedCrop));
  const auto bytes = read_bytes(folder_ / "420.jpg");
  EXPECT_EQ(decoded(*decoder, bytes, 5), decoded(*decoder, bytes, 5));
  EXPECT_NE(decoded(*decoder, bytes, 5), decoded(*decoder, bytes, 6));
}

TEST(ImageTransformTest, DefaultsFollowTheChannelsAndOnlyTrainingAugments) {
  Hyperparameters hyperparameters;
  hyperparameters.augmentation = Augmentation::kRandomResizedCrop;
  EXPECT_EQ(train_transform(hyperparameters).augmentation, Augmentation::kRandomResizedCrop);
  EXPECT_EQ(evaluation_transform(hyperparameters).augmentation, Augmentation::kNone);
  EXPECT_THAT(train_transform(hyperparameters).mean, testing::ElementsAre(0.485, 0.456, 0.406));
  hyperparameters.image_channels = 1;
  EXPECT_THAT(train_transform(hyperparameters).std, testing::ElementsAre(0.5));
  hyperparameters.normalize_mean = {0.25};
  EXPECT_THAT(evaluation_transform(hyperparameters).mean, testing::ElementsAre(0.25));
}

TEST(ImageTransformTest, ImpossibleTransformsAreRefused) {
  const auto refused = [](auto change) {
    ImageTransform transform = raw_transform(64, 3, Augmentation::kNone);
    change(transform);
    try {
      make_image_decoder(transform);
      return false;
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
  };
  EXPECT_TRUE(refused([](ImageTransform& t) { t.size = 0; }));
  EXPECT_TRUE(refused([](ImageTransform& t) { t.channels = 2; }));
  EXPECT_TRUE(refused([](ImageTransform& t) { t.mean = {0.5}; }));
  EXPECT_TRUE(refused([](ImageTransform& t) { t.std[1] = 0; }));
  EXPECT_FALSE(refused([](ImageTransform&) {}));
}

}  // namespace
}  // namespace musher

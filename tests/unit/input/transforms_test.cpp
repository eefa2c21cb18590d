// Every transform beside torchvision's own, on the same photographs with the same parameters.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "image/augment.h"
#include "image/colour.h"
#include "trainer/input/image_samples.h"
#include "trainer/input/mixing.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kPartHeight = 120;
constexpr int kPartWidth = 160;
const std::vector<std::string> kPhotographs = {"astronaut.jpg", "chelsea.jpg", "coffee.jpg"};

template <typename T>
std::vector<T> read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  std::vector<T> values(text.size() / sizeof(T));
  std::copy_n(text.data(), values.size() * sizeof(T), reinterpret_cast<char*>(values.data()));
  return values;
}

struct Difference {
  double mean = 0;
  double most = 0;
  double share = 0;  ///< of the values that differ by more than 1e-3
};

Difference difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  Difference result;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::abs(double{a[i]} - b[i]);
    result.mean += d / static_cast<double>(a.size());
    result.most = std::max(result.most, d);
    result.share += (d > 1e-3 ? 1.0 : 0.0) / static_cast<double>(a.size());
  }
  return result;
}

// --- operations -------------------------------------------------------------------------------

struct OpCase {
  std::string name;
  std::string photo;
  int channels;
  std::string op;
  double magnitude;
  std::function<void(Planes)> run;
  double most = 0;   ///< the greatest difference that is allowed
  double share = 0;  ///< of values that may differ more: ties of rounding
};

std::vector<OpCase> op_cases() {
  std::vector<OpCase> cases;
  const auto add = [&](const std::string& photo, int channels, std::string op, double magnitude,
                       std::function<void(Planes)> run, double most, double share) {
    cases.push_back({fmt::format("op{}", cases.size()), photo, channels, std::move(op), magnitude,
                     std::move(run), most, share});
  };
  for (const std::string& photo : kPhotographs) {
    for (int channels : {1, 3}) {
      const auto adjust = [&](const std::string& op, void (*function)(Planes, double),
                              const std::vector<double>& factors) {
        for (double factor : factors) {
          add(
              photo, channels, op, factor, [=](Planes image) { function(image, factor); }, 1e-6, 0);
        }
      };
      adjust("adjust_brightness", adjust_brightness, {0, 0.4, 1, 1.7});
      adjust("adjust_contrast", adjust_contrast, {0, 0.4, 1, 1.7});
      adjust("adjust_saturation", adjust_saturation, {0, 0.4, 1, 1.7});
      adjust("adjust_hue", adjust_hue, {-0.5, -0.13, 0, 0.2, 0.5});
      adjust("adjust_sharpness", adjust_sharpness, {0, 0.4, 1, 1.7});
      for (int kind = 0; kind < AugmentOp::kKinds; ++kind) {
        for (double magnitude : {-0.27, 0.09, 0.2}) {
          AugmentOp op = {static_cast<AugmentOp::Kind>(kind), magnitude};
          if (op.kind == AugmentOp::kTranslateX || op.kind == AugmentOp::kTranslateY ||
              op.kind == AugmentOp::kRotate) {
            op.magnitude *= 100;
          }
          if (op.kind == AugmentOp::kPosterize) op.magnitude = std::round(6 + 8 * magnitude);
          if (op.kind == AugmentOp::kSolarize) op.magnitude = 0.5 + magnitude;
          const bool warps = kind >= AugmentOp::kShearX && kind <= AugmentOp::kRotate;
          add(
              photo, channels, std::string(name_of(op.kind)), op.magnitude,
              [op](Planes image) { apply(op, image); }, 1e-6, warps ? 0.002 : 0);
        }
      }
    }
  }
  return cases;
}

// --- whole pictures ---------------------------------------------------------------------------

struct DecodedCase {
  std::string name;
  std::string photo;
  int width;
  int height;
  std::string augmentation;
  ImageTransform transform;
  std::uint64_t key;
  double mean = 0;  ///< allowed mean difference, after normalisation
};

ImageTransform transform_of(std::int64_t size, std::int64_t channels) {
  Hyperparameters hyper;
  hyper.image_size = size;
  hyper.image_channels = channels;
  hyper.jpeg_scaled_decode = false;
  return evaluation_transform(hyper);
}

std::vector<DecodedCase> decoded_cases() {
  std::vector<DecodedCase> cases;
  const std::map<std::string, std::pair<int, int>> sizes = {
      {"astronaut.jpg", {320, 320}}, {"chelsea.jpg", {451, 300}}, {"coffee.jpg", {600, 400}}};
  const auto add = [&](const std::string& augmentation, const ImageTransform& transform,
                       double mean) {
    for (const auto& [photo, size] : sizes) {
      cases.push_back({fmt::format("decoded{}", cases.size()), photo, size.first, size.second,
                       augmentation, transform, cases.size(), mean});
    }
  };
  constexpr double kSame = 1e-5;
  // PIL makes grey of rounded RGB, libjpeg takes the luma that is stored.
  for (const auto& [channels, mean] : {std::pair{1, 6e-4}, std::pair{3, kSame}}) {
    ImageTransform evaluation = transform_of(224, channels);
    add("none", evaluation, mean);
    evaluation.resize_size = 230;
    add("none", evaluation, mean);
    add("none", transform_of(48, channels), mean);
  }
  for (int i = 0; i < 4; ++i) {
    ImageTransform transform = transform_of(160, 3);
    transform.augmentation = Augmentation::kRandomResizedCrop;
    add("random_resized_crop", transform, kSame);
    transform.erase_probability = 0.8;
    transform.color_jitter = {0.4, 0.4, 0.4, 0.1};
    add("random_resized_crop", transform, kSame);
    transform.augmentation = Augmentation::kCropFlip;
    add("crop_flip", transform, kSame);
    // A value beside a step of its may fall on the other side.
    transform.color_jitter = {};
    transform.rand_augment_ops = 2;
    add("crop_flip", transform, 1e-4);
    transform.augmentation = Augmentation::kRandomResizedCrop;
    transform.color_jitter = {0.4, 0.4, 0.4, 0.1};
    add("random_resized_crop", transform, 1e-4);
  }
  return cases;
}

json json_of(const DecodedCase& c) {
  const ImageTransform& t = c.transform;
  const ChosenTransform chosen = choose_transform(t, c.width, c.height, c.key);
  const View& v = chosen.view;
  json ops = json::array();
  for (const AugmentOp& op : chosen.ops) ops.push_back({name_of(op.kind), op.magnitude});
  json jitter = json::array();
  for (const auto& factor : chosen.jitter.factors)
    jitter.push_back(factor ? json(*factor) : json());
  json erased;
  if (const auto& r = chosen.erased) erased = {r->left, r->top, r->right, r->bottom};
  const std::int64_t standard = t.size < 64 ? 0 : std::lrint(t.size * 256.0 / 224.0);
  return {{"case", "decoded"},
          {"name", c.name},
          {"photo", c.photo},
          {"channels", t.channels},
          {"size", t.size},
          {"resize_size", t.resize_size > 0 ? t.resize_size : standard},
          {"augmentation", c.augmentation},
          {"view",
           {{"left", v.left},
            {"top", v.top},
            {"width", v.width},
            {"height", v.height},
            {"shift_x", v.shift_x},
            {"shift_y", v.shift_y},
            {"mirrored", v.mirrored}}},
          {"jitter_order", chosen.jitter.order},
          {"jitter", jitter},
          {"ops", ops},
          {"erased", erased},
          {"mean", t.mean},
          {"std", t.std}};
}

// --- mixtures ---------------------------------------------------------------------------------

constexpr int kMixed = 5;

std::vector<Mix> mixes() {
  std::vector<Mix> all;
  for (std::uint64_t i = 0; i < 20; ++i) {
    Random random{i};
    all.push_back(
        choose_mix({.mixup_alpha = i % 2 == 0 ? 0.4 : 0, .cutmix_alpha = i % 2 == 0 ? 0. : 1.}, 24,
                   32, random));
  }
  return all;
}

json json_of(const Mix& mix, const std::string& name) {
  json box;
  if (const auto& b = mix.box) box = {b->left, b->top, b->right, b->bottom};
  return {{"case", "mixed"}, {"kind", "mixed"},   {"name", name}, {"photo", "coffee.jpg"},
          {"channels", 3},   {"samples", kMixed}, {"box", box},   {"share", mix.share}};
}

class TransformsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::temp_directory_path() / "musher-transforms-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::ofstream out(folder_ / "cases.jsonl");
    for (const std::string& photo : kPhotographs) {
      for (int channels : {1, 3}) {
        out << json{{"case", "input"},
                    {"name", fmt::format("{}.{}", photo, channels)},
                    {"photo", photo},
                    {"channels", channels}}
            << "\n";
      }
    }
    for (const OpCase& c : op_cases()) {
      out << json{{"case", "operation"},    {"name", c.name}, {"photo", c.photo},
                  {"channels", c.channels}, {"op", c.op},     {"magnitude", c.magnitude}}
          << "\n";
    }
    for (const DecodedCase& c : decoded_cases()) out << json_of(c) << "\n";
    json input = json_of(Mix{}, "mix_input");
    input["kind"] = "input";
    out << input << "\n";
    for (std::size_t i = 0; const Mix& mix : mixes())
      out << json_of(mix, fmt::format("mix{}", i++)) << "\n";
    out.close();
    const std::string command =
        fmt::format("'{}' '{}' '{}' '{}'", IMAGE_CASES_PYTHON, TORCHVISION_CASES_SCRIPT,
                    PHOTOGRAPHS, folder_.string());
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static std::vector<float> floats(const std::string& name) {
    return read_all<float>(folder_ / (name + ".f32"));
  }

  static inline fs::path folder_;
};

TEST_F(TransformsTest, EachOperationEqualsTorchvisions) {
  double greatest = 0;
  double ties = 0;
  for (const OpCase& c : op_cases()) {
    SCOPED_TRACE(
        fmt::format("{} {} with {} channels by {}", c.op, c.photo, c.channels, c.magnitude));
    std::vector<float> pixels = floats(fmt::format("{}.{}", c.photo, c.channels));
    ASSERT_EQ(pixels.size(), std::size_t(c.channels) * kPartHeight * kPartWidth);
    c.run({pixels.data(), c.channels, kPartHeight, kPartWidth});
    const Difference d = difference(pixels, floats(c.name));
    if (c.share > 0) {
      EXPECT_LE(d.share, c.share);
      ties = std::max(ties, d.share);
    } else {
      EXPECT_LE(d.most, c.most);
      greatest = std::max(greatest, d.most);
    }
  }
  RecordProperty("greatest_difference", fmt::format("{}", greatest));
  RecordProperty("greatest_share_of_ties", fmt::format("{}", ties));
}

TEST_F(TransformsTest, WholePicturesEqualTorchvisions) {
  std::map<double, double> worst;
  for (const DecodedCase& c : decoded_cases()) {
    SCOPED_TRACE(json_of(c).dump());
    const auto decoder = make_image_decoder(c.transform);
    const auto expected = floats(c.name);
    std::vector<float> out(expected.size());
    decoder->decode({}, read_all<std::byte>(fs::path(PHOTOGRAPHS) / c.photo), c.key, out.data());
    const Difference d = difference(out, expected);
    EXPECT_LE(d.mean, c.mean);
    worst[c.mean] = std::max(worst[c.mean], d.mean);
  }
  for (const auto& [allowed, seen] : worst) {
    RecordProperty(fmt::format("worst_of_{}", allowed), fmt::format("{}", seen));
  }
}

TEST_F(TransformsTest, MagnitudesAreTorchvisions) {
  std::map<std::pair<std::string, int>, std::pair<double, bool>> space;
  std::ifstream in(folder_ / "space.txt");
  std::string name;
  int magnitude = 0;
  double value = 0;
  bool is_signed = false;
  while (in >> name >> magnitude >> value >> is_signed)
    space[{name, magnitude}] = {value, is_signed};
  ASSERT_EQ(space.size(), 31u * AugmentOp::kKinds);

  std::map<std::pair<std::string, int>, std::pair<int, int>> seen;  // drawn, and negative of these
  for (int m = 0; m <= 30; ++m) {
    Random random{static_cast<std::uint64_t>(m)};
    for (const AugmentOp& op : choose_rand_augment(2'000, m, 64, 96, random)) {
      const std::pair key(std::string(name_of(op.kind)), m);
      EXPECT_NEAR(std::abs(op.magnitude), space[key].first, 1e-5) << key.first << " " << m;
      ++seen[key].first;
      seen[key].second += op.magnitude < 0 ? 1 : 0;
    }
  }
  EXPECT_EQ(seen.size(), space.size());
  for (const auto& [key, count] : seen) {
    EXPECT_NEAR(count.first, 2'000.0 / AugmentOp::kKinds, 60) << key.first;
    const bool goes_both_ways = space[key].second && space[key].first > 0;
    EXPECT_NEAR(count.second, goes_both_ways ? count.first / 2.0 : 0.0, goes_both_ways ? 30 : 0);
  }
}

TEST_F(TransformsTest, MixUpAndCutMixEqualTorchvisions) {
  int cut = 0;
  for (std::size_t i = 0; const Mix& how : mixes()) {
    SCOPED_TRACE(fmt::format("mix{}, share {}", i, how.share));
    const std::vector<float> expected = floats(fmt::format("mix{}", i++));
    Batch batch;
    batch.input_shape = {3, 24, 32};
    batch.inputs = floats("mix_input");
    for (int label = 0; label < kMixed; ++label) batch.targets.push_back(label);
    mix(batch, 0, kMixed, how);

    std::vector<float> result = batch.inputs;
    for (std::size_t s = 0; s < kMixed; ++s) {
      std::vector<float> soft(kMixed);
      soft[static_cast<std::size_t>(batch.targets[s])] += batch.target_shares[s];
      soft[static_cast<std::size_t>(batch.other_targets[s])] += 1 - batch.target_shares[s];
      EXPECT_GE(batch.target_shares[s], 0.5f);
      result.insert(result.end(), soft.begin(), soft.end());
    }
    EXPECT_LE(difference(result, expected).most, 1e-6);
    cut += how.box ? 1 : 0;
  }
  EXPECT_EQ(cut, 10);
}

TEST(MixingTest, SharesAreBetaDistributed) {
  for (double alpha : {0.01, 0.2, 1.0, 4.0}) {
    Random random{9};
    double sum = 0;
    double squares = 0;
    constexpr int kDraws = 40'000;
    for (int i = 0; i < kDraws; ++i) {
      const double x = beta_sample(alpha, random);
      ASSERT_GE(x, 0);
      ASSERT_LE(x, 1);
      sum += x;
      squares += x * x;
    }
    const double mean = sum / kDraws;
    EXPECT_NEAR(mean, 0.5, 0.01) << alpha;
    EXPECT_NEAR(squares / kDraws - mean * mean, 1 / (4 * (2 * alpha + 1)), 0.004) << alpha;
  }
}

TEST(MixingTest, ASampleAloneStaysAsItIs) {
  Batch batch;
  batch.input_shape = {1, 1, 2};
  batch.inputs = {1, 2};
  batch.targets = {7};
  mix(batch, 0, 1, {.share = 0.3, .box = std::nullopt});
  EXPECT_EQ(batch.inputs, (std::vector<float>{1, 2}));
  EXPECT_TRUE(batch.other_targets.empty());
}

TEST(ErasingTest, FollowsTheProbabilityAndStaysInside) {
  Random random{4};
  int erased = 0;
  double area = 0;
  for (int i = 0; i < 10'000; ++i) {
    const auto part = choose_erased(0.25, 64, 96, random);
    if (!part) continue;
    ++erased;
    ASSERT_GE(part->left, 0);
    ASSERT_GE(part->top, 0);
    ASSERT_LE(part->right, 96);
    ASSERT_LE(part->bottom, 64);
    area += (part->right - part->left) * (part->bottom - part->top) / (64.0 * 96.0);
  }
  EXPECT_NEAR(erased, 2'500, 150);
  EXPECT_NEAR(area / erased, 0.165, 0.02);
}

}  // namespace
}  // namespace musher

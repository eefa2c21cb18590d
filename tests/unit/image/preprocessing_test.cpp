#include "image/preprocessing.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

using test::expect_error;

TEST(Preprocessing, ComesBackAsItWasWritten) {
  ImageTransform transform;
  transform.size = 96;
  transform.resize_size = 110;
  transform.channels = 1;
  transform.mean = {0.1};
  transform.std = {0.30000000000000004};
  transform.scaled_decode = false;
  const ImageTransform back = parse_preprocessing(preprocessing_json(transform));
  EXPECT_EQ(back.size, 96);
  EXPECT_EQ(back.resize_size, 110);
  EXPECT_EQ(back.channels, 1);
  EXPECT_EQ(back.mean, transform.mean);
  EXPECT_EQ(back.std, transform.std);
  EXPECT_FALSE(back.scaled_decode);
  EXPECT_EQ(back.augmentation, Augmentation::kNone);
}

TEST(Preprocessing, AFileFromBeforeAMemberExistedHasItsDefault) {
  const ImageTransform back = parse_preprocessing(
      R"({"format": "image", "size": 8, "channels": 1, "mean": [0.5], "std": [0.5]})");
  EXPECT_EQ(back.resize_size, 0);
  EXPECT_TRUE(back.scaled_decode);
}

TEST(Preprocessing, WhatIsWrongIsNamed) {
  const auto refused = [](const char* text, const char* part) {
    expect_error(ErrorCode::kInvalidArgument, {"preprocessing.json", part},
                 [&] { parse_preprocessing(text); });
  };
  refused("", "JSON object");
  refused("[1]", "JSON object");
  refused("{}", "\"format\"");
  refused(R"({"format": "text"})", "\"text\"");
  refused(R"({"format": "image", "size": 8, "channels": 1, "mean": [0.5]})", "\"std\"");
  refused(R"({"format": "image", "size": "8", "channels": 1, "mean": [0.5], "std": [1]})",
          "\"size\" can't be \"8\"");
}

}  // namespace
}  // namespace musher

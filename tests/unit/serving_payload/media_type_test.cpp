#include "serving/payload/media_type.h"

#include <gtest/gtest.h>

#include "serving/payload/answer.h"

namespace musher {
namespace {

TEST(MediaType, HasNoParametersAndNoCase) {
  EXPECT_EQ(media_type("Image/JPEG"), "image/jpeg");
  EXPECT_EQ(media_type(" application/json ; charset=utf-8"), "application/json");
  EXPECT_EQ(media_type(""), "");
}

TEST(Accept, IsFollowed) {
  const auto chosen = [](std::string_view accept) {
    return choose_media_type(accept, kAnswerTypes).value_or("none");
  };
  EXPECT_EQ(chosen(""), "application/json");
  EXPECT_EQ(chosen("*/*"), "application/json");
  EXPECT_EQ(chosen("application/x-npy"), "application/x-npy");
  EXPECT_EQ(chosen("Text/CSV; charset=utf-8"), "text/csv");
  EXPECT_EQ(chosen("text/*"), "text/csv");
  EXPECT_EQ(chosen("text/html, application/*;q=0.5"), "application/json");
  EXPECT_EQ(chosen("application/json;q=0.1, text/csv;q=0.9"), "text/csv");
  EXPECT_EQ(chosen("*/*, application/json;q=0"), "text/csv");
  EXPECT_EQ(chosen("image/png"), "none");
  EXPECT_EQ(chosen("application/json;q=0"), "none");
}

}  // namespace
}  // namespace musher

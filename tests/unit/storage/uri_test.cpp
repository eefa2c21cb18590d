#include "storage/uri.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher {
namespace {

struct Good {
  std::string text, bucket, path, str;
};

class GoodUri : public testing::TestWithParam<Good> {};

TEST_P(GoodUri, ParsesAndPrints) {
  const Uri uri = Uri::parse(GetParam().text);
  EXPECT_EQ(uri.bucket, GetParam().bucket);
  EXPECT_EQ(uri.path, GetParam().path);
  EXPECT_EQ(uri.str(), GetParam().str);
  EXPECT_EQ(Uri::parse(uri.str()), uri);
}

INSTANTIATE_TEST_SUITE_P(
    Uri, GoodUri,
    testing::Values(
        Good{"s3://bucket", "bucket", "", "s3://bucket"},
        Good{"s3://bucket/", "bucket", "", "s3://bucket"},
        Good{"s3://my.bucket-1/a/b", "my.bucket-1", "a/b", "s3://my.bucket-1/a/b"},
        Good{"s3://bucket/a/b/", "bucket", "a/b", "s3://bucket/a/b"},
        // Keys are raw: nothing is decoded, and a question mark is a letter like any other.
        Good{"s3://bucket/a%20b c+?#é", "bucket", "a%20b c+?#é", "s3://bucket/a%20b c+?#é"},
        Good{"file:///", "", "/", "file:///"},
        Good{"file:///data/dogs/", "", "/data/dogs", "file:///data/dogs"},
        Good{"file:///.hidden/..x", "", "/.hidden/..x", "file:///.hidden/..x"}));

class BadUri : public testing::TestWithParam<std::string> {};

TEST_P(BadUri, IsRejectedByName) {
  try {
    Uri::parse(GetParam());
    FAIL() << "parsed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), testing::HasSubstr("s3://bucket/prefix"));
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Uri, BadUri,
    testing::Values("", "bucket/key", "/data", "http://bucket/key", "S3://bucket", "s3:/bucket",
                    "s3://", "s3:///key", "s3://ab", "s3://Bucket/key", "s3://buck_et/key",
                    "s3://-bucket", "s3://buck..et", "s3://bucket:80/key", "s3://user@bucket/key",
                    "s3://bucket//key", "s3://bucket/a//b", "s3://bucket/a//", "s3://bucket/../key",
                    "s3://bucket/a/./b", "file://data", "file://host/data", "file:////data",
                    "file:///a/../b", "s3://bucket/a\nb", std::string("s3://bucket/a\0b", 15)));

TEST(Uri, JoinsKeysBelowItself) {
  EXPECT_EQ(Uri::parse("s3://bucket").join("a/b").str(), "s3://bucket/a/b");
  EXPECT_EQ(Uri::parse("s3://bucket/p").join("a").str(), "s3://bucket/p/a");
  EXPECT_EQ(Uri::parse("file:///").join("a").str(), "file:///a");
  EXPECT_EQ(Uri::parse("file:///p").join("a/").str(), "file:///p/a");
  EXPECT_EQ(Uri::parse("s3://bucket/p").join(""), Uri::parse("s3://bucket/p"));
}

TEST(Uri, AKeyCantLeaveItsFolder) {
  for (const char* key : {"../b", "a/../../b", "/etc/passwd", "a//b", "."}) {
    EXPECT_THROW(Uri::parse("file:///p").join(key), Error) << key;
  }
}

}  // namespace
}  // namespace musher

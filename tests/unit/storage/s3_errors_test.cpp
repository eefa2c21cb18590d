#include "storage/s3_errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace musher {
namespace {

using testing::HasSubstr;

std::string arrow_says(const std::string& type, const std::string& message,
                       const std::string& key = "k") {
  return "When reading information for key '" + key + "' in bucket 'b': AWS Error " + type +
         " during GetObject operation: " + message;
}

TEST(S3Errors, TellCredentialProblemsApart) {
  const auto signature = explain_s3_failure(arrow_says("SIGNATURE_DOES_NOT_MATCH", "x"));
  EXPECT_EQ(signature.code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(signature.why, HasSubstr("secret access key"));
  const auto key = explain_s3_failure(arrow_says("INVALID_ACCESS_KEY_ID", "x"));
  EXPECT_EQ(key.code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(key.why, HasSubstr("does not know the access key id"));
  const auto token = explain_s3_failure(arrow_says(
      "UNKNOWN (HTTP status 400)", "Unable to parse ExceptionName: ExpiredToken Message: x"));
  EXPECT_EQ(token.code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(token.why, HasSubstr("expired"));
}

TEST(S3Errors, ABareRefusalIsVague) {
  EXPECT_TRUE(explain_s3_failure(arrow_says("ACCESS_DENIED", "No response body.")).vague);
  EXPECT_FALSE(explain_s3_failure(arrow_says("ACCESS_DENIED", "Access Denied.")).vague);
}

TEST(S3Errors, OnlyTheServersTroublesAreRetried) {
  for (const char* type : {"NETWORK_CONNECTION", "SLOW_DOWN", "INTERNAL_FAILURE",
                           "SERVICE_UNAVAILABLE", "UNKNOWN (HTTP status 502)", "REQUEST_TIMEOUT"}) {
    EXPECT_EQ(explain_s3_failure(arrow_says(type, "x")).code, ErrorCode::kUnavailable) << type;
  }
  EXPECT_EQ(explain_s3_failure(arrow_says("NO_SUCH_KEY", "x")).code, ErrorCode::kNotFound);
  EXPECT_EQ(explain_s3_failure(arrow_says("NO_SUCH_BUCKET", "x")).code, ErrorCode::kNotFound);
  EXPECT_EQ(explain_s3_failure("something else").code, ErrorCode::kInternal);
}

TEST(S3Errors, AKeyThatLooksLikeAnErrorIsNone) {
  const auto failure = explain_s3_failure(arrow_says("ACCESS_DENIED", "x", "NETWORK_CONNECTION"));
  EXPECT_EQ(failure.code, ErrorCode::kPermissionDenied);
}

TEST(S3Errors, AreOneLine) {
  EXPECT_EQ(one_line(" a\n\n b\tc\r\n"), "a b c");
  EXPECT_THAT(explain_s3_failure(arrow_says("SLOW_DOWN", "a\nb")).why,
              testing::Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace musher

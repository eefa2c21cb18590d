#include "serving/access/signer.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;

const SystemTime kNow = SystemTime(std::chrono::seconds(1'795'000'000));
const SigningKey kKey = {"MSHR0123456789ABCDEF", "the secret"};
const SigningScope kScope = {"eu-west-1", "sagemaker"};

/// What signature_test compares with botocore's is what checks it here.
TEST(Signer, MakesWhatTheVerifyingSideTakes) {
  SignedRequest request = {"POST",
                           "/endpoints/a%20b/invocations?x=1",
                           {{"Host", "dogs:8443"}, {"Content-Type", "image/jpeg"}},
                           "body"};
  const auto headers = sign(request, kKey, kScope, kNow);
  request.headers.insert(request.headers.end(), headers.begin(), headers.end());
  request.headers.emplace_back("X-Amzn-RequestId", "not signed, as a proxy may set it");

  const auto read = read_claim(request);
  ASSERT_TRUE(std::holds_alternative<SignatureClaim>(read));
  const auto& claim = std::get<SignatureClaim>(read);
  EXPECT_EQ(claim.access_key_id, kKey.access_key_id);
  EXPECT_EQ(claim.signed_headers, (std::vector<std::string>{"content-type", "host", "x-amz-date"}));
  EXPECT_FALSE(check_claim(claim, request, kKey.secret, kScope, kNow).has_value());
  EXPECT_TRUE(check_claim(claim, request, "another", kScope, kNow).has_value());
  request.body = "other";
  EXPECT_TRUE(check_claim(claim, request, kKey.secret, kScope, kNow).has_value());
}

TEST(SigningKey, IsReadFromAFileOfItsOwnersAlone) {
  const fs::path path = fs::path(testing::TempDir()) / ("key-" + std::to_string(getpid()));
  const auto write = [&](const char* text, fs::perms mode) {
    std::ofstream(path) << text;
    fs::permissions(path, mode);
  };
  const fs::perms own = fs::perms::owner_read | fs::perms::owner_write;
  write(R"({"AccessKey": {"UserName": "f", "AccessKeyId": "ID", "SecretAccessKey": "S"}})", own);
  EXPECT_EQ(read_signing_key(path).access_key_id, "ID");
  EXPECT_EQ(read_signing_key(path).secret, "S");
  fs::permissions(path, own | fs::perms::group_read);
  test::expect_error(ErrorCode::kFailedPrecondition, {"chmod 600"},
                     [&] { read_signing_key(path); });
  for (const char* text : {"", "[]", "{}", R"({"AccessKey": {"AccessKeyId": "ID"}})"}) {
    write(text, own);
    test::expect_error(ErrorCode::kInvalidArgument, {path.string(), "musher access create"},
                       [&] { read_signing_key(path); });
  }
  fs::remove(path);
  test::expect_error(ErrorCode::kNotFound, {path.string()}, [&] { read_signing_key(path); });
}

}  // namespace
}  // namespace musher

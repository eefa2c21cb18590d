#include "serving/access/gate.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace musher {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kInvoke = "sagemaker:InvokeEndpoint";
constexpr const char* kDogs = "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/dogs";
constexpr const char* kCats = "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/cats";

class AccessGateTest : public testing::Test {
 public:
  AccessGateTest()
      : folder_(fs::path(testing::TempDir()) / ("gate-" + std::to_string(getpid()))),
        keys_(folder_),
        gate_(keys_, {"eu-west-1", "sagemaker"}),
        key_(keys_.create("function", std::string(R"({"Statement": [
                              {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": ")") +
                                          kDogs + R"("},
                              {"Effect": "Deny", "Action": "sagemaker:DeleteEndpoint", "Resource": "*"}]})")) {
  }
  ~AccessGateTest() override { fs::remove_all(folder_); }

 protected:
  struct Signed {
    std::string date, authorization;
    SignedRequest view() const {
      return {"POST",
              "/endpoints/dogs/invocations",
              {{"Host", "musher"}, {"X-Amz-Date", date}, {"Authorization", authorization}},
              "body"};
    }
  };
  /// Signed by this library's own arithmetic, which signature_test compares with botocore's.
  Signed sign(const std::string& id, const std::string& secret, SystemTime when) const {
    Signed request{amz_date(when), ""};
    const SignatureClaim claim = {.access_key_id = id,
                                  .day = request.date.substr(0, 8),
                                  .region = "eu-west-1",
                                  .service = "sagemaker",
                                  .signed_headers = {"host", "x-amz-date"},
                                  .signature = "",
                                  .date = request.date,
                                  .time = when};
    request.authorization = "AWS4-HMAC-SHA256 Credential=" + id + "/" + claim.day +
                            "/eu-west-1/sagemaker/aws4_request, SignedHeaders=host;x-amz-date, "
                            "Signature=" +
                            expected_signature(claim, request.view(), secret);
    return request;
  }
  AccessError refused(const Signed& request, const char* action = kInvoke,
                      const char* resource = kDogs) {
    const auto answer = gate_.admit(request.view(), action, resource, now_);
    EXPECT_TRUE(std::holds_alternative<AccessError>(answer));
    const auto* error = std::get_if<AccessError>(&answer);
    return error ? *error : AccessError{};
  }
  /// Another second is another signature.
  Signed fresh() { return sign(key_.id, key_.secret, now_ -= std::chrono::seconds(1)); }

  const fs::path folder_;
  AccessKeys keys_;
  AccessGate gate_;
  AccessKeys::Created key_;
  SystemTime now_ = std::chrono::system_clock::now();
};

TEST_F(AccessGateTest, LetsInWhoMay) {
  const auto answer = gate_.admit(fresh().view(), kInvoke, kDogs, now_);
  ASSERT_TRUE(std::holds_alternative<SignedCaller>(answer));
  EXPECT_EQ(std::get<SignedCaller>(answer).user_arn, "arn:aws:iam::000000000000:user/function");
}

TEST_F(AccessGateTest, ARecordedRequestIsOfNoUse) {
  const Signed request = fresh();
  EXPECT_TRUE(
      std::holds_alternative<SignedCaller>(gate_.admit(request.view(), kInvoke, kDogs, now_)));
  now_ += std::chrono::minutes(1);
  EXPECT_THAT(refused(request).message, HasSubstr("already been used"));
}

TEST_F(AccessGateTest, EveryOtherActionAndEndpointIsDeniedInAwssWords) {
  const AccessError cats = refused(fresh(), kInvoke, kCats);
  EXPECT_EQ(cats.status, 403);
  EXPECT_EQ(cats.code, "AccessDeniedException");
  EXPECT_EQ(
      cats.message,
      "User: arn:aws:iam::000000000000:user/function is not authorized to perform: "
      "sagemaker:InvokeEndpoint on resource: "
      "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/cats because no identity-based policy "
      "allows the sagemaker:InvokeEndpoint action");
  EXPECT_THAT(refused(fresh(), "sagemaker:DeleteEndpoint").message,
              HasSubstr("with an explicit deny in an identity-based policy"));
  EXPECT_EQ(refused(fresh(), "sagemaker:DescribeEndpoint").code, "AccessDeniedException");
}

TEST_F(AccessGateTest, AnUnknownOrRemovedKeyIsNoKey) {
  const AccessError unknown = refused(sign("MSHRAAAAAAAAAAAAAAAA", key_.secret, now_));
  EXPECT_EQ(unknown.status, 403);
  EXPECT_EQ(unknown.code, "UnrecognizedClientException");
  keys_.remove(key_.id);
  EXPECT_EQ(refused(fresh()).code, "UnrecognizedClientException");
}

TEST_F(AccessGateTest, AWrongSecretIsNotToldFromAnAlteredRequest) {
  EXPECT_EQ(refused(sign(key_.id, "another", now_)).code, "InvalidSignatureException");
}

}  // namespace
}  // namespace musher

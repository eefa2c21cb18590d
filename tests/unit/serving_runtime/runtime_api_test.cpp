#include "serving/runtime/runtime_api.h"

#include <filesystem>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace musher {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RuntimeApiTest : public testing::Test {
 public:
  RuntimeApiTest()
      : folder_(fs::path(testing::TempDir()) / ("runtime-" + std::to_string(getpid()))),
        keys_(folder_),
        gate_(keys_, {"us-east-1", "sagemaker"}),
        api_(gate_, {.name = "Dogs"},
             [this](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
               seen_.push_back(request.method + " " + request.target + " " + request.body);
               if (hold_) {
                 held_ = std::move(exchange);
               } else {
                 exchange->answer(container_answer_);
               }
             }) {}
  ~RuntimeApiTest() override { fs::remove_all(folder_); }

 protected:
  AccessKeys::Created key_for(const std::string& resource) {
    return keys_.create("caller", R"({"Statement": {"Effect": "Allow", "Action":
        "sagemaker:InvokeEndpoint", "Resource": ")" +
                                      resource + R"("}})");
  }
  /// Signed by the library's own arithmetic; another date each time.
  HttpRequest request(const AccessKeys::Created& key, const std::string& method,
                      const std::string& target) {
    HttpRequest made = {method, target, {{"Host", "musher"}}, "body", "id"};
    const SystemTime when = std::chrono::system_clock::now() - std::chrono::seconds(++made_);
    const std::string date = amz_date(when);
    made.headers.emplace_back("X-Amz-Date", date);
    const SignatureClaim claim = {.access_key_id = key.id,
                                  .day = date.substr(0, 8),
                                  .region = "us-east-1",
                                  .service = "sagemaker",
                                  .signed_headers = {"host", "x-amz-date"},
                                  .signature = "",
                                  .date = date,
                                  .time = when};
    const SignedRequest view = {method, target, {made.headers.begin(), made.headers.end()}, "body"};
    made.headers.emplace_back(
        "Authorization", "AWS4-HMAC-SHA256 Credential=" + key.id + "/" + claim.day +
                             "/us-east-1/sagemaker/aws4_request, SignedHeaders=host;x-amz-date, "
                             "Signature=" +
                             expected_signature(claim, view, key.secret));
    return made;
  }
  HttpResponse answer_to(HttpRequest request) {
    std::promise<HttpResponse> answer;
    api_.handle(std::move(request), std::make_shared<Exchange>([&](HttpResponse response) {
                  answer.set_value(std::move(response));
                }));
    return answer.get_future().get();
  }

  const fs::path folder_;
  AccessKeys keys_;
  AccessGate gate_;
  HttpResponse container_answer_ = {200, "application/json", "[[1]]", {}};
  std::vector<std::string> seen_;
  bool hold_ = false;
  std::shared_ptr<Exchange> held_;
  RuntimeApi api_;
  int made_ = 0;
};

constexpr const char* kDogs = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/dogs";

TEST_F(RuntimeApiTest, HandsAnAllowedRequestToTheContainer) {
  const auto key = key_for(kDogs);
  const HttpResponse response = answer_to(request(key, "POST", "/endpoints/Dogs/invocations"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "[[1]]");
  EXPECT_THAT(response.headers,
              testing::Contains(testing::Pair("x-Amzn-Invoked-Production-Variant", "AllTraffic")));
  EXPECT_EQ(seen_, std::vector<std::string>{"POST /invocations body"});
}

TEST_F(RuntimeApiTest, WhatTheKeyMayNotIsRefusedAndNeverReachesTheContainer) {
  const auto key = key_for(kDogs);
  for (const auto& [method, target] : std::vector<std::pair<std::string, std::string>>{
           {"POST", "/endpoints/cats/invocations"},
           {"GET", "/endpoints/Dogs/invocations"},
           {"POST", "/endpoints/Dogs/invocations-response-stream"},
           {"POST", "/endpoints/Do%67s/invocations"},
           {"POST", "/endpoints/cats/../Dogs/invocations"},
           {"POST", "/endpoints/invocations"},
           {"POST", "/invocations"},
           {"DELETE", "/"}}) {
    SCOPED_TRACE(target);
    const HttpResponse response = answer_to(request(key, method, target));
    EXPECT_EQ(response.status, 403);
    EXPECT_THAT(response.body, HasSubstr("is not authorized to perform: sagemaker:"));
  }
  HttpRequest bare = {"POST", "/endpoints/Dogs/invocations", {{"Host", "musher"}}, "body", "id"};
  EXPECT_THAT(answer_to(bare).body, HasSubstr("Missing Authentication Token"));
  bare.target = "/invocations";
  EXPECT_EQ(answer_to(bare).status, 403);
  EXPECT_TRUE(seen_.empty());
}

TEST_F(RuntimeApiTest, AnEndpointThatIsNotHereIsToldToWhomItIsAllowed) {
  const auto key = key_for("*");
  const HttpResponse response = answer_to(request(key, "POST", "/endpoints/cats/invocations"));
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("Endpoint cats of account 000000000000 not found."));
  EXPECT_EQ(answer_to(request(key, "POST", "/endpoints/dogs/invocations")).status, 400);
  EXPECT_TRUE(seen_.empty());
}

TEST_F(RuntimeApiTest, PingNeedsNoSignature) {
  container_answer_ = {200, "", "", {}};
  EXPECT_EQ(answer_to({"GET", "/ping", {}, "", "id"}).status, 200);
}

TEST_F(RuntimeApiTest, AnErrorOfTheContainersIsAModelError) {
  container_answer_ = http_error(415, "UnsupportedMediaType", "not this \xff");
  const HttpResponse response =
      answer_to(request(key_for(kDogs), "POST", "/endpoints/Dogs/invocations"));
  EXPECT_EQ(response.status, 424);
  const auto body = nlohmann::json::parse(response.body);
  EXPECT_EQ(body["OriginalStatusCode"], 415);
  EXPECT_THAT(body["OriginalMessage"].get<std::string>(), HasSubstr("not this"));
  container_answer_ = http_error(503, "ServiceUnavailable", "full");
  const HttpResponse full =
      answer_to(request(key_for(kDogs), "POST", "/endpoints/Dogs/invocations"));
  EXPECT_EQ(full.status, 503);
  EXPECT_THAT(full.headers, testing::Contains(testing::Pair("Retry-After", "1")));
}

TEST_F(RuntimeApiTest, ACallerThatGoesAwayCancelsInTheContainer) {
  hold_ = true;
  const auto exchange = std::make_shared<Exchange>([](const HttpResponse&) {});
  api_.handle(request(key_for(kDogs), "POST", "/endpoints/Dogs/invocations"), exchange);
  ASSERT_NE(held_, nullptr);
  EXPECT_FALSE(held_->cancelled());
  exchange->cancel();
  EXPECT_TRUE(held_->cancelled());
}

TEST(EndpointName, IsSageMakers) {
  EXPECT_EQ((EndpointName{.name = "Dogs", .region = "eu-west-1"}.arn()),
            "arn:aws:sagemaker:eu-west-1:000000000000:endpoint/dogs");
  check(EndpointName{.name = "a-1"});
  for (const std::string name : {"", "-a", "a-", "a_b", "a/b"}) {
    EXPECT_THROW(check(EndpointName{.name = name}), std::runtime_error);
  }
}

}  // namespace
}  // namespace musher

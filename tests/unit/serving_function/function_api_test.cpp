#include "serving/function/function_api.h"

#include <filesystem>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "database/sqlite.h"
#include "serving/access/cryptography.h"
#include "serving/access/signer.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kDogs = "arn:aws:lambda:us-east-1:000000000000:function:dogs";
constexpr const char* kPath = "/2015-03-31/functions/dogs/invocations";

class FunctionApiTest : public testing::Test {
 public:
  FunctionApiTest()
      : folder_(fs::path(testing::TempDir()) / ("function-" + std::to_string(getpid()))),
        keys_(folder_),
        gate_(keys_, {"us-east-1", "lambda"}),
        service_({.name = "dogs", .reserved_concurrency = 2, .events = {}, .state = {}}, function(),
                 make_silent_logger()),
        api_(gate_, {.name = "dogs"}, service_),
        everything_(key_for("lambda:*", "*")) {}
  ~FunctionApiTest() override { fs::remove_all(folder_); }

 protected:
  /// Gives its event back; `"fail"` fails, `"hold"` waits until let go.
  Function function() {
    return [this](const std::string& event, const FunctionContext&, FunctionLog& log) {
      log.line("event " + event);
      if (event == R"("fail")") throw FunctionError("ModelError", "as asked");
      if (event == R"("hold")") held_.wait();
      if (event == R"("event")") event_ran_.set_value();
      return event;
    };
  }
  SigningKey key_for(const std::string& action, const std::string& resource) {
    const json policy = {
        {"Statement", {{"Effect", "Allow"}, {"Action", action}, {"Resource", resource}}}};
    const AccessKeys::Created key = keys_.create("caller", policy.dump());
    return {key.id, key.secret};
  }
  HttpRequest request(const SigningKey& key, const std::string& target, const std::string& body,
                      HttpHeaders headers = {}, const std::string& method = "POST") {
    headers.emplace_back("Host", "musher");
    HttpRequest made = {method, target, std::move(headers), body, "request-1"};
    const SignedRequest view = {method, target, {made.headers.begin(), made.headers.end()}, body};
    // Another second each time is another signature.
    const auto when = std::chrono::system_clock::now() - std::chrono::seconds(++made_);
    for (auto& header : sign(view, key, {"us-east-1", "lambda"}, when))
      made.headers.push_back(std::move(header));
    return made;
  }
  HttpResponse answer_to(HttpRequest request) {
    std::promise<HttpResponse> answer;
    api_.handle(std::move(request), std::make_shared<Exchange>([&](HttpResponse response) {
                  answer.set_value(std::move(response));
                }));
    return answer.get_future().get();
  }
  HttpResponse invoke(const std::string& body, HttpHeaders headers = {},
                      const std::string& target = kPath) {
    return answer_to(request(everything_, target, body, std::move(headers)));
  }
  static std::string header(const HttpResponse& response, std::string_view name) {
    for (const auto& [given, value] : response.headers) {
      if (same_header_name(given, name)) return value;
    }
    return "";
  }

  const fs::path folder_;
  std::promise<void> hold_;
  std::shared_future<void> held_ = hold_.get_future().share();
  std::promise<void> event_ran_;
  AccessKeys keys_;
  AccessGate gate_;
  FunctionService service_;
  FunctionApi api_;
  const SigningKey everything_;
  int made_ = 0;
};

TEST_F(FunctionApiTest, AnswersACallAsLambdaDoes) {
  const HttpResponse answer = invoke(R"({"a": 1})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"a": 1})");
  EXPECT_EQ(answer.content_type, "application/json");
  EXPECT_EQ(header(answer, "X-Amz-Executed-Version"), "$LATEST");
  EXPECT_EQ(header(answer, "X-Amz-Function-Error"), "");
  EXPECT_EQ(header(answer, "X-Amz-Log-Result"), "");
  EXPECT_EQ(invoke("").body, "{}");
  EXPECT_EQ(invoke("1", {}, std::string(kPath) + "?Qualifier=%24LATEST").status, 200);
  EXPECT_EQ(invoke("1", {},
                   "/2015-03-31/functions/"
                   "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Adogs/invocations")
                .status,
            200);
}

TEST_F(FunctionApiTest, BringsTheEndOfTheLogWhereAsked) {
  const HttpResponse answer = invoke("1", {{"X-Amz-Log-Type", "Tail"}});
  const std::string log = from_base64(header(answer, "X-Amz-Log-Result"));
  EXPECT_THAT(log, HasSubstr("START RequestId: request-1 Version: $LATEST\nevent 1\nEND"));
}

TEST_F(FunctionApiTest, AFunctionErrorIs200WithAHeader) {
  const HttpResponse answer = invoke(R"("fail")");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(header(answer, "X-Amz-Function-Error"), "Unhandled");
  EXPECT_EQ(json::parse(answer.body)["errorType"], "ModelError");
}

TEST_F(FunctionApiTest, QueuesAnEventAndOnlyLooksAtADryRun) {
  const HttpResponse queued = invoke(R"("event")", {{"X-Amz-Invocation-Type", "Event"}});
  EXPECT_EQ(queued.status, 202);
  EXPECT_EQ(queued.body, "");
  event_ran_.get_future().wait();
  const HttpResponse dry = invoke(R"("hold")", {{"X-Amz-Invocation-Type", "DryRun"}});
  EXPECT_EQ(dry.status, 204);
  EXPECT_EQ(dry.body, "");
}

TEST_F(FunctionApiTest, AnEventThatCanNotBeStoredIsNotSaidToBeAccepted) {
  const fs::path state = folder_ / "state" / "dogs";
  FunctionService service({.name = "dogs", .reserved_concurrency = 1, .events = {}, .state = state},
                          function(), make_silent_logger());
  FunctionApi api(gate_, {.name = "dogs"}, service);
  const auto answer = [&] {
    std::promise<HttpResponse> answered;
    api.handle(request(everything_, kPath, "1", {{"X-Amz-Invocation-Type", "Event"}}),
               std::make_shared<Exchange>(
                   [&](HttpResponse response) { answered.set_value(std::move(response)); }));
    return answered.get_future().get();
  };
  EXPECT_EQ(answer().status, 202);
  sqlite::Database(state / "events.sqlite").execute("DROP TABLE events");
  const HttpResponse failed = answer();
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(header(failed, "x-amzn-ErrorType"), "ServiceException");
  EXPECT_EQ(json::parse(failed.body)["Type"], "Service");
}

TEST_F(FunctionApiTest, OneCallMoreThanAreReservedIsThrottled) {
  std::promise<void> first;
  std::promise<void> second;
  for (std::promise<void>* answered : {&first, &second}) {
    api_.handle(request(everything_, kPath, R"("hold")"),
                std::make_shared<Exchange>([=](const HttpResponse&) { answered->set_value(); }));
  }
  const HttpResponse third = invoke("1");
  EXPECT_EQ(third.status, 429);
  EXPECT_EQ(header(third, "x-amzn-ErrorType"), "TooManyRequestsException");
  EXPECT_EQ(header(third, "Retry-After"), "1");
  EXPECT_EQ(json::parse(third.body),
            (json{{"Type", "User"},
                  {"message", "Rate Exceeded."},
                  {"Reason", "ReservedFunctionConcurrentInvocationLimitExceeded"}}));
  EXPECT_EQ(invoke("1", {{"X-Amz-Invocation-Type", "DryRun"}}).status, 204);
  hold_.set_value();
  first.get_future().wait();
  second.get_future().wait();
  EXPECT_EQ(invoke("1").status, 200);
}

TEST_F(FunctionApiTest, RefusesInLambdasWords) {
  struct Case {
    int status;
    const char* code;
    const char* message;
    HttpResponse answer;
  };
  const std::string large = '"' + std::string(FunctionApi::kEventLimit, 'a') + '"';
  const std::string too_large(FunctionApi::kCallLimit + 1, 'a');
  for (const auto& [status, code, message, answer] : std::vector<Case>{
           {400, "InvalidRequestContentException", "Could not parse request body into json",
            invoke("{")},
           {400, "InvalidRequestContentException", "Client context must be smaller than 3584 bytes",
            invoke("1", {{"X-Amz-Client-Context", std::string(3584, 'a')}})},
           {400, "ValidationException",
            "Value 'Later' at 'invocationType' failed to satisfy constraint: Member must satisfy "
            "enum value set: [RequestResponse, Event, DryRun]",
            invoke("1", {{"X-Amz-Invocation-Type", "Later"}})},
           {400, "ValidationException", "Value 'All' at 'logType'",
            invoke("1", {{"X-Amz-Log-Type", "All"}})},
           {404, "ResourceNotFoundException",
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:cats",
            invoke("1", {}, "/2015-03-31/functions/cats/invocations")},
           {404, "ResourceNotFoundException", "function:dogs:7",
            invoke("1", {}, std::string(kPath) + "?Qualifier=7")},
           {404, "ResourceNotFoundException", "",
            answer_to(request(everything_, kPath, "", {}, "GET"))},
           {413, "RequestTooLargeException",
            "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
            invoke(too_large)},
           {413, "RequestTooLargeException", "Request must be smaller than 1048576 bytes",
            invoke(large, {{"X-Amz-Invocation-Type", "Event"}})},
       }) {
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(header(answer, "x-amzn-ErrorType"), code) << answer.body;
    const json body = json::parse(answer.body);
    EXPECT_EQ(body["Type"], "User");
    EXPECT_THAT(body["message"].get<std::string>(), HasSubstr(message));
  }
  EXPECT_EQ(invoke(large).status, 200) << "a call may be larger than an event";
}

TEST_F(FunctionApiTest, WhatTheKeyMayNotIsRefusedAndTellsNothing) {
  const SigningKey key = key_for("lambda:InvokeFunction", kDogs);
  EXPECT_EQ(answer_to(request(key, kPath, "1")).status, 200);
  for (const auto& [method, target] : std::vector<std::pair<std::string, std::string>>{
           {"POST", "/2015-03-31/functions/cats/invocations"},
           {"POST", std::string(kPath) + "?Qualifier=7"},  // the policy names no version
           {"POST", "/2015-03-31/functions/111122223333%3Afunction%3Adogs/invocations"},
           {"POST", "/2015-03-31/functions/cats/../dogs/invocations"},
           {"POST", "/2015-03-31/functions/invocations"},
           {"POST", "/2021-11-15/functions/dogs/response-streaming-invocations"},
           {"GET", kPath},
           {"PUT", "/2017-10-31/functions/dogs/concurrency"}}) {
    SCOPED_TRACE(target);
    const HttpResponse answer = answer_to(request(key, target, "1", {}, method));
    EXPECT_EQ(answer.status, 403);
    EXPECT_EQ(header(answer, "x-amzn-ErrorType"), "AccessDeniedException");
    EXPECT_THAT(answer.body, HasSubstr("is not authorized to perform: lambda:"));
  }
  const HttpResponse unsigned_call = answer_to({"POST", kPath, {{"Host", "musher"}}, "1", "id"});
  EXPECT_EQ(unsigned_call.status, 403);
  EXPECT_THAT(unsigned_call.body, HasSubstr("Missing Authentication Token"));
  HttpRequest changed = request(key, kPath, "1");
  changed.body = "2";
  EXPECT_EQ(header(answer_to(std::move(changed)), "x-amzn-ErrorType"), "InvalidSignatureException");
  EXPECT_EQ(answer_to({"GET", "/ping", {}, "", "id"}).status, 200);
}

}  // namespace
}  // namespace musher

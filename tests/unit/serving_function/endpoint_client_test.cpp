#include "serving/client/endpoint_client.h"

#include <atomic>
#include <filesystem>
#include <mutex>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "serving/access/gate.h"
#include "serving/http/server.h"
#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

EndpointClientOptions at(const std::string& url) {
  EndpointClientOptions options;
  options.url = url;
  return options;
}

/// An endpoint that checks signatures and answers what it is told.
class EndpointClientTest : public testing::Test {
 public:
  EndpointClientTest()
      : folder_(fs::path(testing::TempDir()) / ("client-" + std::to_string(getpid()))),
        keys_(folder_),
        gate_(keys_, {"eu-west-1", "sagemaker"}),
        created_(keys_.create("function", R"({"Statement": {"Effect": "Allow", "Action":
            "sagemaker:InvokeEndpoint", "Resource": "*"}})")),
        server_({}, [this](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
          answer(request, std::move(exchange));
        }) {}
  ~EndpointClientTest() override { fs::remove_all(folder_); }

 protected:
  void answer(const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
    const std::lock_guard lock(mutex_);
    seen_.push_back(request);
    const SignedRequest view = {request.method,
                                request.target,
                                {request.headers.begin(), request.headers.end()},
                                request.body};
    const auto admitted =
        gate_.admit(view, "sagemaker:InvokeEndpoint", "arn:x", std::chrono::system_clock::now());
    if (const auto* error = std::get_if<AccessError>(&admitted))
      return exchange->answer(http_error(error->status, error->code, error->message));
    if (answers_.empty()) return held_.push_back(std::move(exchange));
    exchange->answer(answers_.front());
    answers_.erase(answers_.begin());
  }
  EndpointClient client(EndpointClientOptions options = {}) {
    if (options.url.empty()) options.url = fmt::format("http://127.0.0.1:{}", server_.port());
    options.region = "eu-west-1";
    if (options.key.secret.empty()) options.key = {created_.id, created_.secret};
    return EndpointClient(std::move(options));
  }
  EndpointClientOptions with_secret(const std::string& secret) const {
    EndpointClientOptions options;
    options.key = {created_.id, secret};
    return options;
  }
  static EndpointClientOptions with_limit(std::uint64_t bytes) {
    EndpointClientOptions options;
    options.response_limit = bytes;
    return options;
  }
  static EndpointCall call() {
    return {
        .endpoint = "dogs", .content_type = "image/jpeg", .body = "pixels", .request_id = "r-1"};
  }
  static HttpResponse ok() { return {200, "application/json", "[[1, 2]]", {}}; }

  const fs::path folder_;
  std::mutex mutex_;
  std::vector<HttpRequest> seen_;
  std::vector<HttpResponse> answers_;
  std::vector<std::shared_ptr<Exchange>> held_;
  AccessKeys keys_;
  AccessGate gate_;
  const AccessKeys::Created created_;
  HttpServer server_;
};

TEST_F(EndpointClientTest, SignsAndBringsTheAnswer) {
  answers_ = {ok(), ok()};
  EndpointClient caller = client();
  for (int i = 0; i < 2; ++i) {
    const EndpointAnswer answer = caller.invoke(call(), Deadline::after(30s));
    EXPECT_EQ(answer.status, 200) << answer.error_message;
    EXPECT_EQ(answer.content_type, "application/json");
    EXPECT_EQ(answer.body, "[[1, 2]]");
  }
  EXPECT_EQ(seen_[0].target, "/endpoints/dogs/invocations");
  EXPECT_EQ(seen_[0].header("content-type"), "image/jpeg");
  EXPECT_EQ(seen_[0].header("accept"), "application/json");
  EXPECT_EQ(seen_[0].body, "pixels");
  EXPECT_EQ(seen_[0].id, "r-1");
  EXPECT_EQ(server_.connections(), 1U) << "the connection is used again";
}

TEST_F(EndpointClientTest, WithoutAKeyAsksTheContainer) {
  EndpointClient caller(at(fmt::format("http://127.0.0.1:{}", server_.port())));
  caller.invoke(call(), Deadline::after(30s));
  EXPECT_EQ(seen_[0].target, "/invocations");
  EXPECT_EQ(seen_[0].header("authorization"), "");
  EXPECT_EQ(seen_[0].body, "pixels");
}

TEST_F(EndpointClientTest, TriesAgainWhereThatMayHelp) {
  answers_ = {http_error(503, "ServiceUnavailable", "full"), http_error(429, "Slow", ""), ok()};
  EXPECT_EQ(client().invoke(call(), Deadline::after(30s)).status, 200);
  answers_ = {http_error(503, "A", ""), http_error(503, "B", ""), http_error(503, "C", "last")};
  const EndpointAnswer last = client().invoke(call(), Deadline::after(30s));
  EXPECT_EQ(last.status, 503);
  EXPECT_EQ(last.error_code, "C");
  EXPECT_EQ(last.error_message, "last");
}

TEST_F(EndpointClientTest, AnErrorIsAValueAndIsNotTriedAgain) {
  answers_ = {{424,
               "application/json",
               R"({"Message": "no picture"})",
               {{"x-amzn-ErrorType", "ModelError:http://x"}}}};
  const EndpointAnswer answer = client().invoke(call(), Deadline::after(30s));
  EXPECT_EQ(answer.status, 424);
  EXPECT_EQ(answer.error_code, "ModelError");
  EXPECT_EQ(answer.error_message, "no picture");
  EXPECT_EQ(seen_.size(), 1U);

  const EndpointAnswer refused = client(with_secret("wrong")).invoke(call(), Deadline::after(30s));
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.error_code, "InvalidSignatureException");
}

TEST_F(EndpointClientTest, EndsAtItsDeadline) {
  EndpointClient caller = client();
  test::expect_error(ErrorCode::kDeadlineExceeded, {"dogs", "in time"},
                     [&] { caller.invoke(call(), Deadline::after(100ms)); });
  test::expect_error(ErrorCode::kDeadlineExceeded, {"dogs"},
                     [&] { caller.invoke(call(), Deadline::after(0ms)); });
  const std::lock_guard lock(mutex_);
  for (const auto& exchange : held_) exchange->answer(ok());
}

TEST_F(EndpointClientTest, TakesNoAnswerAboveItsLimit) {
  answers_ = {{200, "text/plain", std::string(2'000, 'x'), {}}};
  EndpointClient caller = client(with_limit(1'000));
  test::expect_error(ErrorCode::kResourceExhausted, {"dogs", "1000 bytes"},
                     [&] { caller.invoke(call(), Deadline::after(30s)); });
}

TEST_F(EndpointClientTest, SaysThatNobodyIsThere) {
  std::uint16_t gone = 0;
  {
    const HttpServer closed({}, [](const HttpRequest&, const std::shared_ptr<Exchange>&) {});
    gone = closed.port();
  }
  EndpointClient caller = client(at(fmt::format("http://127.0.0.1:{}", gone)));
  test::expect_error(ErrorCode::kUnavailable, {"127.0.0.1"},
                     [&] { caller.invoke(call(), Deadline::after(30s)); });
}

TEST(EndpointUrl, HasTlsOrIsOnThisMachine) {
  for (const char* url : {"https://dogs.example:8443", "http://127.0.0.1:8080",
                          "http://localhost:8080/", "http://[::1]:8080", "https://10.0.0.1"}) {
    const EndpointClient taken(at(url));
  }
  for (const auto& [url, part] : {std::pair{"http://10.0.0.1:8080", "without TLS"},
                                  {"http://127.evil.org", "without TLS"},
                                  {"ftp://127.0.0.1", "not HTTP"},
                                  {"no url", "no URL"},
                                  {"https://user:secret@host", "more than"},
                                  {"https://host/path", "more than"}}) {
    SCOPED_TRACE(url);
    test::expect_error(ErrorCode::kInvalidArgument, {part},
                       [&, url = url] { const EndpointClient refused(at(url)); });
  }
}

}  // namespace
}  // namespace musher

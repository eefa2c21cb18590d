#include "serving/http/exchange.h"

#include <vector>

#include <gtest/gtest.h>

#include "serving/http/text_page.h"
#include "serving/http/token_gate.h"

namespace musher {
namespace {

struct Answers {
  std::vector<int> statuses;
  std::shared_ptr<Exchange> exchange() {
    return std::make_shared<Exchange>(
        [this](const HttpResponse& response) { statuses.push_back(response.status); });
  }
};

TEST(Exchange, TheFirstAnswerCounts) {
  Answers answers;
  {
    const auto exchange = answers.exchange();
    exchange->answer({.status = 200, .content_type = "", .body = "", .headers = {}});
    exchange->answer({.status = 404, .content_type = "", .body = "", .headers = {}});
  }
  EXPECT_EQ(answers.statuses, std::vector<int>{200});
}

TEST(Exchange, OneThatIsForgottenIsAnswered500) {
  Answers answers;
  answers.exchange().reset();
  EXPECT_EQ(answers.statuses, std::vector<int>{500});
}

TEST(Exchange, ACancelledOneSaysSoOnceAndNotAfterItsAnswer) {
  Answers answers;
  int cancelled = 0;
  const auto exchange = answers.exchange();
  exchange->on_cancel([&] { ++cancelled; });
  EXPECT_FALSE(exchange->cancelled());
  exchange->cancel();
  exchange->cancel();
  EXPECT_EQ(cancelled, 1);
  exchange->on_cancel([&] { ++cancelled; });
  EXPECT_EQ(cancelled, 2);
  const auto answered = answers.exchange();
  answered->on_cancel([&] { ++cancelled; });
  answered->answer({});
  answered->cancel();
  EXPECT_EQ(cancelled, 2);
}

TEST(Exchange, ForwardsItsAnswerAndTheClientsGoing) {
  std::vector<HttpResponse> answers;
  const auto outer = std::make_shared<Exchange>(
      [&](const HttpResponse& response) { answers.push_back(response); });
  const auto edit = [](HttpResponse response) {
    response.body += " edited";
    return response;
  };
  auto inner = forward(outer, edit);
  HttpResponse one;
  one.body = "one";
  inner->answer(one);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].body, "one edited");

  const auto leaving = std::make_shared<Exchange>([&](const HttpResponse&) {});
  inner = forward(leaving, edit);
  leaving->cancel();
  EXPECT_TRUE(inner->cancelled());

  const auto waiting = std::make_shared<Exchange>(
      [&](const HttpResponse& response) { answers.push_back(response); });
  forward(waiting, edit).reset();  // whoever had it let go of it
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[1].status, 500);
}

TEST(TextPage, IsAtItsPathAlone) {
  const HttpHandler page = text_page("/metrics", "text/plain", [] { return "now"; });
  const auto get = [&](const char* method, const char* target) {
    HttpResponse answer;
    HttpRequest request;
    request.method = method;
    request.target = target;
    page(std::move(request),
         std::make_shared<Exchange>([&](HttpResponse response) { answer = std::move(response); }));
    return answer;
  };
  EXPECT_EQ(get("GET", "/metrics?name=x").body, "now");
  EXPECT_EQ(get("GET", "/metrics").content_type, "text/plain");
  EXPECT_EQ(get("GET", "/").status, 404);
  EXPECT_EQ(get("POST", "/metrics").status, 405);
}

TEST(HttpErrors, AreJsonWhateverIsInThem) {
  const HttpResponse response = http_error(503, "ServiceUnavailable", "\"\xff");
  EXPECT_EQ(response.body, "{\"message\":\"\\\"\xEF\xBF\xBD\"}");
  EXPECT_EQ(response.headers.back(), (std::pair<std::string, std::string>("Retry-After", "1")));
}

TEST(HttpRequests, HeadersAreFoundInAnyCaseAndTargetsHaveAPath) {
  HttpRequest request;
  request.headers = {{"Content-TYPE", "a"}, {"content-type", "b"}};
  request.target = "/a/b?c=/d?";
  EXPECT_EQ(request.header("Content-Type"), "a");
  EXPECT_EQ(request.header("accept"), "");
  EXPECT_EQ(request.path(), "/a/b");
}

TEST(TokenGate, LetsTheRightTokenThroughAlone) {
  Answers answers;
  const HttpHandler gate =
      require_token("secret", [](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) {
        exchange->answer({.status = 200, .content_type = "", .body = "", .headers = {}});
      });
  const auto ask = [&](const HttpHeaders& headers) {
    HttpRequest request;
    request.headers = headers;
    gate(std::move(request), answers.exchange());
    return answers.statuses.back();
  };
  EXPECT_EQ(ask({}), 403);
  EXPECT_EQ(ask({{"X-Musher-Token", ""}}), 403);
  EXPECT_EQ(ask({{"X-Musher-Token", "secreT"}}), 403);
  EXPECT_EQ(ask({{"X-Musher-Token", "secret "}}), 403);
  EXPECT_EQ(ask({{"X-Musher-Token", "wrong"}, {"X-Musher-Token", "secret"}}), 403);
  EXPECT_EQ(ask({{"x-musher-token", "secret"}}), 200);
}

}  // namespace
}  // namespace musher

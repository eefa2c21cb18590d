#include "serving/http/exchange.h"

#include <vector>

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace musher

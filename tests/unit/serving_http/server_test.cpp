#include "serving/http/server.h"

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "unit/serving_http/client.h"

namespace musher {
namespace {

using std::chrono::milliseconds;
using namespace std::string_literals;
using test::RawClient;
using test::status_of;
using testing::HasSubstr;
using testing::Not;

constexpr auto kLong = std::chrono::seconds(30);

/// A server that answers with the request's body, or holds what goes to /held until it is told.
class HttpServerTest : public testing::Test {
 protected:
  void serve(HttpServerOptions options = {}) {
    options.access_log = [this](const AccessRecord& record) {
      const std::lock_guard lock(mutex_);
      log_.push_back(record);
    };
    server_.emplace(std::move(options), [this](HttpRequest request, std::shared_ptr<Exchange> e) {
      if (request.path() == "/throws") throw std::runtime_error("out of order");
      if (request.path() == "/forgets") return;
      if (request.path() != "/held") return answer(*e, request);
      const std::lock_guard lock(mutex_);
      held_.emplace_back(std::move(request), std::move(e));
      changed_.notify_all();
    });
  }
  static void answer(Exchange& exchange, const HttpRequest& request) {
    exchange.answer({.status = 200,
                     .content_type = "text/plain",
                     .body = request.method + " " + request.body,
                     .headers = {{"X-Id", request.id}}});
  }
  std::pair<HttpRequest, std::shared_ptr<Exchange>> next_held() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return !held_.empty(); }));
    auto first = std::move(held_.front());
    held_.pop_front();
    return first;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<HttpRequest, std::shared_ptr<Exchange>>> held_;
  std::vector<AccessRecord> log_;
  std::optional<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersSeveralRequestsOfOneConnection) {
  serve();
  RawClient client(server_->port());
  client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nPOST abc"));
  // Two at once, the second chunked and the last.
  client.send(
      "GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "2\r\nde\r\n1\r\nf\r\n0\r\n\r\n");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nGET "));
  const std::string last = client.read_to_end();
  EXPECT_THAT(last, HasSubstr("Connection: close"));
  EXPECT_THAT(last, HasSubstr("\r\n\r\nPOST def"));
}

TEST_F(HttpServerTest, ARequestKeepsItsIdAndGetsOneWhereItHasNone) {
  serve();
  RawClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\nx-amzn-requestid: abc-1\r\n\r\n");
  const std::string own = client.read_answer();
  EXPECT_THAT(own, HasSubstr("x-amzn-RequestId: abc-1\r\n"));
  EXPECT_THAT(own, HasSubstr("X-Id: abc-1\r\n"));
  client.send("GET / HTTP/1.1\r\nHost: x\r\nx-amzn-requestid: a b\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.read_to_end(),
              testing::ContainsRegex("x-amzn-RequestId: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab]"
                                     "[0-9a-f]{3}-[0-9a-f]{12}\r"));
  const std::lock_guard lock(mutex_);
  ASSERT_GE(log_.size(), 1u);
  EXPECT_EQ(log_[0].id, "abc-1");
  EXPECT_EQ(log_[0].status, 200);
}

TEST_F(HttpServerTest, WhatIsTooLargeOrNotHttpIsAnswered4xxAndClosed) {
  HttpServerOptions options;
  options.body_limit = 1000;
  options.header_limit = 2000;
  serve(options);
  const auto answer_to = [&](const std::string& text) {
    RawClient client(server_->port());
    client.send(text);
    return status_of(client.read_to_end());
  };
  const std::string body(200'000, 'x');
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(answer_to(post + "Content-Length: 200000\r\n\r\n" + body), "413");
  EXPECT_EQ(answer_to(post + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + body), "413");
  EXPECT_EQ(answer_to(post + "Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n"), "413");
  EXPECT_EQ(answer_to(post + "A: " + std::string(3000, 'a') + "\r\n\r\n"), "431");
  EXPECT_EQ(answer_to("nonsense\r\n\r\n"), "400");
  EXPECT_EQ(answer_to("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n"s), "400");
  EXPECT_EQ(answer_to("GET / HTTP/9.9\r\n\r\n"), "400");
  EXPECT_EQ(answer_to(post + "Content-Length: -1\r\n\r\n"), "400");
  EXPECT_EQ(answer_to(post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), "400");
  EXPECT_EQ(answer_to(post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "400");
  EXPECT_EQ(answer_to("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), "200");
}

/// Whoever complains of a refusal can be found in the log.
TEST_F(HttpServerTest, WhatIsRefusedHasAnIdAndALineInTheLogToo) {
  HttpServerOptions options;
  options.body_limit = 1000;
  serve(options);
  RawClient large(server_->port());
  large.send(
      "POST /large HTTP/1.1\r\nHost: x\r\nX-Amzn-RequestId: mine\r\nContent-Length: 2000\r\n\r\n");
  EXPECT_THAT(large.read_to_end(), HasSubstr("x-amzn-RequestId: mine\r\n"));
  RawClient garbage(server_->port());
  garbage.send("nonsense\r\n\r\n");
  EXPECT_THAT(garbage.read_to_end(), HasSubstr("x-amzn-RequestId: "));
  server_.reset();
  ASSERT_EQ(log_.size(), 2u);
  EXPECT_EQ(log_[0].id, "mine");
  EXPECT_EQ(log_[0].method, "POST");
  EXPECT_EQ(log_[0].target, "/large");
  EXPECT_EQ(log_[0].status, 413);
  EXPECT_THAT(log_[0].peer, testing::StartsWith("127.0.0.1:"));
  EXPECT_EQ(log_[1].status, 400);
  EXPECT_NE(log_[1].id, "");
}

TEST_F(HttpServerTest, ASlowClientIsAnswered408AndAnIdleOneClosed) {
  HttpServerOptions options;
  options.request_timeout = milliseconds(50);
  options.idle_timeout = milliseconds(50);
  serve(options);
  RawClient header(server_->port());
  header.send("GET / HT");
  EXPECT_EQ(status_of(header.read_to_end()), "408");
  RawClient body(server_->port());
  body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(status_of(body.read_to_end()), "408");
  RawClient idle(server_->port());
  EXPECT_EQ(idle.read_to_end(), "");
}

TEST_F(HttpServerTest, ASlowSecondRequestIsAnswered408TooAndTheFirstMayTakeItsTime) {
  HttpServerOptions options;
  options.request_timeout = milliseconds(50);
  serve(options);
  RawClient client(server_->port());
  client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto held = next_held();
  std::this_thread::sleep_for(milliseconds(150));  // what handles it has a limit of its own
  answer(*held.second, held.first);
  EXPECT_EQ(status_of(client.read_answer()), "200");
  client.send("GET / HT");
  EXPECT_EQ(status_of(client.read_to_end()), "408");
}

TEST_F(HttpServerTest, ARequestMayComeInPiecesOrWhileAnotherIsHandled) {
  serve();
  RawClient client(server_->port());
  const std::string body(5000, 'b');
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + body;
  for (const std::size_t piece : {1, 7, 60, 3000}) {
    for (std::size_t at = 0; at < 80; at += piece) client.send(post.substr(at, piece));
    client.send(post.substr((80 + piece - 1) / piece * piece));
    EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nPOST " + body)) << piece;
  }
  client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto held = next_held();
  client.send(post.substr(0, 3000));
  answer(*held.second, held.first);
  EXPECT_EQ(status_of(client.read_answer()), "200");
  client.send(post.substr(3000) + "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nPOST " + body));
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nGET "));
}

TEST_F(HttpServerTest, AClientThatReadsNothingIsCutOff) {
  HttpServerOptions options;
  options.write_timeout = milliseconds(50);
  options.body_limit = 64 << 20;
  serve(options);
  RawClient client(server_->port());
  const std::string body(32 << 20, 'x');
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  while (server_->connections() > 0) std::this_thread::yield();
}

TEST_F(HttpServerTest, BodiesTogetherAreBounded) {
  HttpServerOptions options;
  options.buffer_limit = 1000;
  serve(options);
  RawClient first(server_->port());
  first.send("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" +
             std::string(600, 'x'));
  auto held = next_held();
  RawClient second(server_->port());
  second.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" + std::string(600, 'x'));
  const std::string refused = second.read_to_end();
  EXPECT_EQ(status_of(refused), "503");
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  answer(*held.second, held.first);
  EXPECT_EQ(status_of(first.read_answer()), "200");
  first.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" + std::string(600, 'x'));
  EXPECT_EQ(status_of(first.read_answer()), "200");
}

TEST_F(HttpServerTest, ExpectContinueIsGivenLeave) {
  serve();
  RawClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_answer(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ab");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\n\r\nPOST ab"));
}

TEST_F(HttpServerTest, AHandlerThatThrowsOrForgetsGives500) {
  serve();
  for (const char* path : {"/throws", "/forgets"}) {
    RawClient client(server_->port());
    client.send(std::string("GET ") + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(status_of(client.read_to_end()), "500") << path;
  }
}

TEST_F(HttpServerTest, AClientThatGoesAwayCancelsItsRequest) {
  serve();
  const std::string get = "GET /held HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const bool hard : {false, true}) {
    RawClient client(server_->port());
    client.send(get);
    const auto held = next_held();
    std::promise<void> cancelled;
    held.second->on_cancel([&] { cancelled.set_value(); });
    hard ? client.reset() : client.close_now();
    EXPECT_EQ(cancelled.get_future().wait_for(kLong), std::future_status::ready);
  }
  // One that only sends nothing more still has its answer.
  RawClient half(server_->port());
  half.send(get);
  half.half_close();
  const auto held = next_held();
  answer(*held.second, held.first);
  EXPECT_EQ(status_of(half.read_to_end()), "200");
}

TEST_F(HttpServerTest, ARequestCutOffInTheMiddleIsA400) {
  serve();
  RawClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  client.half_close();
  EXPECT_EQ(status_of(client.read_to_end()), "400");
}

TEST_F(HttpServerTest, HeadHasTheHeaderOfTheAnswerAndNoBody) {
  serve();
  RawClient client(server_->port());
  client.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, AnAnswerWithoutContentHasNoLengthAndTheConnectionGoesOn) {
  serve();
  RawClient client(server_->port());
  client.send("DELETE /held HTTP/1.1\r\nHost: x\r\n\r\n");
  next_held().second->answer({.status = 204, .content_type = "", .body = "", .headers = {}});
  EXPECT_THAT(client.read_answer(), testing::AllOf(testing::StartsWith("HTTP/1.1 204 "),
                                                   Not(HasSubstr("Content-Length"))));
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of(client.read_answer()), "200");
}

TEST_F(HttpServerTest, DrainingAnswersWhatIsUnderWayAndTakesNothingNew) {
  serve();
  RawClient idle(server_->port());
  idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of(idle.read_answer()), "200");
  RawClient busy(server_->port());
  busy.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto held = next_held();
  auto drained =
      std::async(std::launch::async, [&] { return server_->drain(Deadline::after(kLong)); });
  EXPECT_EQ(idle.read_to_end(), "");
  answer(*held.second, held.first);
  const std::string last = busy.read_to_end();
  EXPECT_EQ(status_of(last), "200");
  EXPECT_THAT(last, HasSubstr("Connection: close"));
  EXPECT_TRUE(drained.get());
  EXPECT_FALSE(RawClient(server_->port()).connected());
}

TEST_F(HttpServerTest, DrainingEndsAtItsDeadline) {
  serve();
  RawClient busy(server_->port());
  busy.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto held = next_held();
  EXPECT_FALSE(server_->drain(Deadline::after(milliseconds(20))));
  const std::uint16_t port = server_->port();
  server_.reset();
  answer(*held.second, held.first);  // too late, and no harm
  EXPECT_FALSE(RawClient(port).connected());
}

TEST_F(HttpServerTest, ConnectionsAboveTheLimitWaitTheirTurn) {
  HttpServerOptions options;
  options.max_connections = 2;
  serve(options);
  RawClient one(server_->port());
  RawClient two(server_->port());
  const std::string get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  one.send(get);
  two.send(get);
  EXPECT_EQ(status_of(one.read_answer()), "200");
  EXPECT_EQ(status_of(two.read_answer()), "200");
  RawClient three(server_->port());
  three.send(get);
  EXPECT_EQ(server_->connections(), 2u);
  one.close_now();
  EXPECT_EQ(status_of(three.read_answer()), "200");
}

TEST_F(HttpServerTest, ManyIdleConnectionsAreBorne) {
  serve();
  std::deque<RawClient> idle;
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(idle.emplace_back(server_->port()).connected());
  RawClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of(client.read_answer()), "200");
  EXPECT_EQ(server_->connections(), 401u);
}

TEST(HttpServer, AnAddressThatIsTakenIsSaid) {
  const auto none = [](const HttpRequest&, const std::shared_ptr<Exchange>&) {};
  const HttpServer first({}, none);
  HttpServerOptions options;
  options.port = first.port();
  test::expect_error(ErrorCode::kUnavailable, {"127.0.0.1", std::to_string(first.port())},
                     [&] { const HttpServer second(options, none); });
  options.address = "nowhere";
  test::expect_error(ErrorCode::kUnavailable, {"nowhere"},
                     [&] { const HttpServer second(options, none); });
}

}  // namespace
}  // namespace musher

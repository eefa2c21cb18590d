#include "serving/function/function_service.h"

#include <future>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <spdlog/sinks/ostream_sink.h>

namespace musher {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

std::string echo(const std::string& event, const FunctionContext&, FunctionLog& log) {
  log.line("seen " + event);
  return event;
}

void ignored(bool) {}

FunctionContext context(Deadline deadline = Deadline::after(1h)) {
  return {"id-1", "dogs", "arn:aws:lambda:us-east-1:000000000000:function:dogs", deadline};
}

TEST(Execution, HasLambdasLines) {
  const Execution done = execute(echo, R"({"a": 1})", context(), 60s, make_silent_logger());
  EXPECT_FALSE(done.failed);
  EXPECT_EQ(done.payload, R"({"a": 1})");
  EXPECT_THAT(done.log_tail, testing::MatchesRegex("START RequestId: id-1 Version: \\$LATEST\n"
                                                   "seen \\{\"a\": 1\\}\n"
                                                   "END RequestId: id-1\n"
                                                   "REPORT RequestId: id-1\tDuration: [0-9.]+ ms\t"
                                                   "Billed Duration: [0-9]+ ms\t\n"));
}

TEST(Execution, KeepsTheLastFourKilobytesOfItsLog) {
  const Function talkative = [](const std::string&, const FunctionContext&, FunctionLog& log) {
    for (int i = 0; i < 1000; ++i) log.line("line " + std::to_string(i) + " of\nmany");
    return std::string("1");
  };
  const Execution done = execute(talkative, "{}", context(), 60s, make_silent_logger());
  EXPECT_EQ(done.log_tail.size(), FunctionLog::kTail);
  EXPECT_THAT(done.log_tail, HasSubstr("line 999 of many\nEND"));
  EXPECT_THAT(done.log_tail, testing::Not(HasSubstr("START")));
}

TEST(Execution, ThatThrowsIsAFunctionError) {
  const auto failing = [](const std::string&, const FunctionContext&, FunctionLog&) -> std::string {
    throw FunctionError("ModelError", "no \xff");
  };
  const Execution failed = execute(failing, "{}", context(), 60s, make_silent_logger());
  EXPECT_TRUE(failed.failed);
  const auto json = nlohmann::json::parse(failed.payload);
  EXPECT_EQ(json["errorType"], "ModelError");
  EXPECT_THAT(json["errorMessage"].get<std::string>(), HasSubstr("no "));
  EXPECT_EQ(json["requestId"], "id-1");
  EXPECT_EQ(json["stackTrace"], nlohmann::json::array());
  EXPECT_THAT(failed.log_tail, HasSubstr("[ERROR] ModelError: no"));
}

TEST(Execution, ThatIsLateHasTimedOut) {
  const Execution late =
      execute(echo, "{}", context(Deadline::after(-1s)), 2500ms, make_silent_logger());
  EXPECT_TRUE(late.failed);
  const auto json = nlohmann::json::parse(late.payload);
  EXPECT_EQ(json["errorType"], "Sandbox.Timedout");
  EXPECT_EQ(json["errorMessage"], "RequestId: id-1 Error: Task timed out after 2.50 seconds");
}

/// A function that waits until it is let go.
class Held {
 public:
  Function function() {
    return [this](const std::string& event, const FunctionContext&, FunctionLog&) {
      {
        const std::lock_guard lock(mutex_);
        ++began_;
        most_ = std::max(most_, ++now_);
      }
      changed_.notify_all();
      released_.wait();
      const std::lock_guard lock(mutex_);
      --now_;
      return event;
    };
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return began_ >= count; });
  }
  void release() { release_.set_value(); }
  int most() const { return most_; }
  int began() {
    const std::lock_guard lock(mutex_);
    return began_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();
  int began_ = 0;
  int now_ = 0;
  int most_ = 0;
};

TEST(FunctionService, RunsAsManyAtOnceAsAreReservedAndNoMore) {
  Held held;
  std::atomic<int> answers = 0;
  FunctionService service({.name = "dogs", .reserved_concurrency = 3, .events = {}, .state = {}},
                          held.function(), make_silent_logger());
  const auto done = [&](const Execution&) { ++answers; };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(service.try_invoke({"id", "arn", "{}"}, done));
  held.wait_for(3);
  EXPECT_FALSE(service.try_invoke({"id", "arn", "{}"}, done));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(service.try_queue({"event", "arn", "{}"}, ignored));
  held.release();
  held.wait_for(7);  // the events had the slots after the calls
  service.close();
  EXPECT_EQ(answers, 3);
  EXPECT_EQ(held.most(), 3);
}

TEST(FunctionService, WhoHasItsAnswerMayCallAgain) {
  FunctionService service({.name = "dogs", .reserved_concurrency = 1, .events = {}, .state = {}},
                          echo, make_silent_logger());
  for (int i = 0; i < 200; ++i) {
    std::promise<void> answered;
    ASSERT_TRUE(
        service.try_invoke({"id", "arn", "{}"}, [&](const Execution&) { answered.set_value(); }));
    answered.get_future().wait();
  }
}

TEST(FunctionService, WithNothingReservedNothingRuns) {
  FunctionService service({.name = "dogs", .reserved_concurrency = 0, .events = {}, .state = {}},
                          echo, make_silent_logger());
  EXPECT_FALSE(service.try_invoke({"id", "arn", "{}"}, [](const Execution&) {}));
}

TEST(FunctionService, TriesAnEventThatFailsAgainAndThenGivesItUp) {
  std::ostringstream text;
  const auto logger =
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  std::atomic<int> executions = 0;
  std::promise<void> third;
  FunctionOptions options;
  options.name = "dogs";
  options.events.first_retry = 1ms;
  {
    FunctionService service(
        options,
        [&](const std::string&, const FunctionContext& seen, FunctionLog&) -> std::string {
          EXPECT_EQ(seen.request_id, "event-1");
          if (++executions == 3) third.set_value();
          throw FunctionError("ModelError", "never");
        },
        logger);
    ASSERT_TRUE(service.try_queue({"event-1", "arn", "{}"}, ignored));
    third.get_future().wait();
  }
  EXPECT_EQ(executions, 3);
  EXPECT_THAT(text.str(), HasSubstr("event event-1 failed, execution 2 of 3"));
  EXPECT_THAT(text.str(), HasSubstr("event event-1 is given up after 3 executions"));
}

TEST(FunctionService, SaysWhichEventsItLoses) {
  std::ostringstream text;
  const auto logger =
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  FunctionService service({.name = "dogs", .reserved_concurrency = 0, .events = {}, .state = {}},
                          echo, logger);
  ASSERT_TRUE(service.try_queue({"event-9", "arn", "{}"}, ignored));
  service.close();
  EXPECT_THAT(text.str(), HasSubstr("event event-9 is lost"));
  EXPECT_FALSE(service.try_queue({"event-10", "arn", "{}"}, ignored));
}

}  // namespace
}  // namespace musher

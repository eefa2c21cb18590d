#include "serving/endpoint/inference_service.h"

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "serving/payload/array.h"
#include "support/expect_error.h"

namespace musher {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr auto kLong = std::chrono::seconds(30);

/// Answers with the sum of its two inputs and `bias`; a picture is two digits. 9 it can't bear.
class Adder : public Predictor {
 public:
  explicit Adder(float bias = 0) : bias_(bias) {}

  const std::vector<std::int64_t>& input_shape() const override { return shape_; }
  std::size_t outputs() const override { return 1; }
  void decode(std::span<const std::byte> picture, float* out) const override {
    if (picture.size() != 2) throw Error(ErrorCode::kDataLoss, "the picture is cut off");
    for (const std::byte byte : picture) *out++ = static_cast<float>(static_cast<char>(byte) - '0');
  }
  void predict(std::size_t, std::span<const float> inputs, std::size_t samples,
               std::span<float> outputs) override {
    {
      std::unique_lock lock(mutex_);
      batches.push_back(samples);
      changed_.notify_all();
      changed_.wait_for(lock, kLong, [&] { return !held_; });
    }
    for (std::size_t i = 0; i < samples; ++i) {
      if (inputs[2 * i] == 9) throw std::runtime_error("nine");
      outputs[i] = inputs[2 * i] + inputs[2 * i + 1] + bias_;
    }
  }

  void hold(bool on) {
    const std::lock_guard lock(mutex_);
    held_ = on;
    changed_.notify_all();
  }
  void await_batches(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return batches.size() >= count; }));
  }

  std::vector<std::size_t> batches;  ///< their sizes

 private:
  const float bias_;
  const std::vector<std::int64_t> shape_ = {2};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
};

/// An answer that is waited for.
struct Pending {
  std::shared_ptr<Exchange> exchange;
  std::future<HttpResponse> answer;
  HttpResponse get() {
    if (answer.wait_for(kLong) == std::future_status::ready) return answer.get();
    ADD_FAILURE() << "no answer";
    return {};
  }
};

class InferenceServiceTest : public testing::Test {
 protected:
  void serve(InferenceOptions options = {}) {
    options.batching.max_batch_delay = {};
    service_.emplace(std::move(options));
    service_->use(adder_);
  }
  Pending send(const std::string& method, const std::string& target, HttpHeaders headers = {},
               std::string body = "") {
    auto promise = std::make_shared<std::promise<HttpResponse>>();
    Pending pending{nullptr, promise->get_future()};
    auto exchange = std::make_shared<Exchange>(
        [promise](HttpResponse response) { promise->set_value(std::move(response)); });
    pending.exchange = exchange;
    service_->handle({method, target, std::move(headers), std::move(body), "id"},
                     std::move(exchange));
    return pending;
  }
  Pending invoke(const std::string& type, std::string body, const std::string& accept = "") {
    return send("POST", "/invocations", {{"Content-Type", type}, {"Accept", accept}},
                std::move(body));
  }

  const std::shared_ptr<Adder> adder_ = std::make_shared<Adder>();
  std::optional<InferenceService> service_;
};

TEST_F(InferenceServiceTest, AnswersEveryTypeInEveryType) {
  serve();
  const std::string npy = write_npy({{1, 2}, {3, 4}});
  for (const auto& [type, body] : std::vector<std::pair<std::string, std::string>>{
           {"image/jpeg", "34"},
           {"IMAGE/PNG; a=b", "34"},
           {"application/x-image", "34"},
           {"application/json", "[3, 4]"},
           {"application/json; charset=utf-8", "{\"instances\": [[3, 4]]}"},
           {"application/x-npy", npy}}) {
    SCOPED_TRACE(type);
    HttpResponse json = invoke(type, body).get();
    EXPECT_EQ(json.status, 200);
    EXPECT_EQ(json.content_type, "application/json");
    EXPECT_EQ(json.body, "[[7]]");
    EXPECT_EQ(invoke(type, body, "text/csv").get().body, "7\n");
    const Array array = read_npy(invoke(type, body, "application/x-npy").get().body);
    EXPECT_EQ(array.values, std::vector<float>{7});
  }
}

TEST_F(InferenceServiceTest, NumbersAreDecodedAlikeHoweverManyBytesTheyTake) {
  serve();
  for (const std::size_t spaces : {0, 10'000}) {
    EXPECT_EQ(invoke("application/json", "[3, 4" + std::string(spaces, ' ') + "]").get().body,
              "[[7]]");
    EXPECT_EQ(invoke("application/json", "[3, 4" + std::string(spaces, ' ') + ")").get().status,
              400);
  }
}

TEST_F(InferenceServiceTest, PingIsGoodOnceThereIsAModel) {
  service_.emplace(InferenceOptions{});
  EXPECT_EQ(send("GET", "/ping").get().status, 503);
  EXPECT_EQ(invoke("image/jpeg", "34").get().status, 503);
  service_->use(adder_);
  const HttpResponse ready = send("GET", "/ping?x=y").get();
  EXPECT_EQ(ready.status, 200);
  EXPECT_EQ(ready.body, "");
}

TEST_F(InferenceServiceTest, WhatIsWrongIsAClear4xx) {
  serve();
  const auto expect = [](int status, const char* part, Pending pending) {
    const HttpResponse response = pending.get();
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_THAT(response.body, HasSubstr(part));
  };
  expect(404, "/invocations", send("GET", "/"));
  expect(405, "POST", send("GET", "/invocations"));
  expect(405, "GET", send("POST", "/ping"));
  expect(406, "Accept", invoke("image/jpeg", "34", "image/gif"));
  expect(415, "Content-Type", invoke("text/plain", "34"));
  expect(415, "Content-Type", invoke("", "34"));
  expect(400, "empty", invoke("image/jpeg", ""));
  expect(400, "cut off", invoke("image/jpeg", "345"));
  expect(400, "not JSON", invoke("application/json", "{"));
  expect(400, "shape", invoke("application/json", "[1, 2, 3]"));
  expect(400, "npy", invoke("application/x-npy", "34"));
  expect(403, "prefixes", invoke("application/json", "{\"url\": \"s3://bucket/a.jpg\"}"));
}

TEST_F(InferenceServiceTest, RequestsThatWaitRunTogether) {
  serve();
  adder_->hold(true);
  std::vector<Pending> pending;
  pending.push_back(invoke("image/jpeg", "11"));
  adder_->await_batches(1);
  for (const char* picture : {"12", "13", "14", "15"}) {
    pending.push_back(invoke("application/json", std::string("[1,") + picture[1] + "]"));
  }
  // All are queued once a request that came after them is refused its turn.
  while (service_->queued() < 4) std::this_thread::yield();
  adder_->hold(false);
  for (std::size_t i = 0; i < pending.size(); ++i)
    EXPECT_EQ(pending[i].get().body, "[[" + std::to_string(i + 2) + "]]");
  EXPECT_EQ(adder_->batches, (std::vector<std::size_t>{1, 4}));
}

TEST_F(InferenceServiceTest, OneThatTheModelCantBearSpoilsNoOther) {
  serve();
  adder_->hold(true);
  Pending first = invoke("image/jpeg", "11");
  adder_->await_batches(1);
  Pending good = invoke("image/jpeg", "12");
  Pending bad = invoke("image/jpeg", "90");
  while (service_->queued() < 2) std::this_thread::yield();
  adder_->hold(false);
  EXPECT_EQ(good.get().body, "[[3]]");
  const HttpResponse failed = bad.get();
  EXPECT_EQ(failed.status, 500);
  EXPECT_THAT(failed.body, HasSubstr("nine"));
  EXPECT_EQ(first.get().status, 200);
}

TEST_F(InferenceServiceTest, WhenTooManyWaitTheNextIsTurnedAwayAtOnce) {
  InferenceOptions options;
  options.batching.max_batch_size = 1;
  options.batching.max_queued = 2;
  serve(options);
  adder_->hold(true);
  std::vector<Pending> pending;
  pending.push_back(invoke("image/jpeg", "11"));
  adder_->await_batches(1);
  for (int i = 0; i < 2; ++i) pending.push_back(invoke("image/jpeg", "11"));
  while (service_->queued() < 2) std::this_thread::yield();
  const HttpResponse refused = invoke("image/jpeg", "11").get();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.headers, testing::Contains(testing::Pair("Retry-After", "1")));
  adder_->hold(false);
  for (Pending& one : pending) EXPECT_EQ(one.get().status, 200);
}

TEST_F(InferenceServiceTest, ARequestThatWaitsTooLongIs503) {
  InferenceOptions options;
  options.batching.max_batch_size = 1;
  options.request_timeout = milliseconds(30);
  serve(options);
  adder_->hold(true);
  Pending first = invoke("image/jpeg", "11");
  adder_->await_batches(1);
  EXPECT_EQ(invoke("image/jpeg", "11").get().status, 503);
  adder_->hold(false);
  EXPECT_EQ(first.get().status, 200);
}

TEST_F(InferenceServiceTest, ACancelledRequestLeavesTheQueue) {
  InferenceOptions options;
  options.batching.max_batch_size = 1;
  serve(options);
  adder_->hold(true);
  Pending first = invoke("image/jpeg", "11");
  adder_->await_batches(1);
  Pending second = invoke("image/jpeg", "11");
  while (service_->queued() < 1) std::this_thread::yield();
  second.exchange->cancel();
  EXPECT_EQ(second.get().status, 400);
  EXPECT_EQ(service_->queued(), 0u);
  adder_->hold(false);
  EXPECT_EQ(first.get().status, 200);
  service_->close();
  EXPECT_EQ(adder_->batches.size(), 1u);
}

TEST_F(InferenceServiceTest, AReplacedModelAnswersWhatItBegan) {
  serve();
  adder_->hold(true);
  Pending first = invoke("image/jpeg", "11");
  adder_->await_batches(1);
  Pending second = invoke("image/jpeg", "11");
  while (service_->queued() < 1) std::this_thread::yield();
  service_->use(std::make_shared<Adder>(100));
  Pending third = invoke("image/jpeg", "11");
  while (service_->queued() < 2) std::this_thread::yield();
  adder_->hold(false);
  EXPECT_EQ(first.get().body, "[[2]]");
  EXPECT_EQ(second.get().body, "[[2]]");
  EXPECT_EQ(third.get().body, "[[102]]");
}

TEST_F(InferenceServiceTest, ClosingAnswersWhatIsUnderWay) {
  serve();
  adder_->hold(true);
  std::vector<Pending> pending;
  pending.reserve(5);
  for (int i = 0; i < 5; ++i) pending.push_back(invoke("image/jpeg", "11"));
  adder_->await_batches(1);
  adder_->hold(false);
  service_->close();
  for (Pending& one : pending) EXPECT_EQ(one.get().status, 200);
}

class AllowedUrlsTest : public testing::Test {
 public:
  AllowedUrlsTest() : folder_(fs::path(testing::TempDir()) / ("urls-" + std::to_string(getpid()))) {
    fs::create_directories(folder_ / "open" / "deep");
    fs::create_directories(folder_ / "open-not");
    for (const char* name : {"open/a", "open/deep/b", "open-not/c", "d"})
      std::ofstream(folder_ / name) << name;
  }
  ~AllowedUrlsTest() override { fs::remove_all(folder_); }

 protected:
  std::string url(const std::string& path) const { return "file://" + (folder_ / path).string(); }
  const fs::path folder_;
};

TEST_F(AllowedUrlsTest, ReachesWhatIsBelowAPrefixAndNothingElse) {
  AllowedUrls urls({url("open"), "s3://bucket/pictures"}, {});
  EXPECT_EQ(urls.read(url("open/a"), 100).size(), 6u);
  EXPECT_EQ(urls.read(url("open/deep/b"), 100).size(), 11u);
  for (const std::string& other :
       {url("d"), url("open-not/c"), url("open/../d"), url("open/./../d"), url("open//../d"),
        url("open/deep/../../d"), url("open"), url("open/"), std::string("s3://other/pictures/a"),
        std::string("s3://bucket/a"), std::string("s3://bucket/pictures-not/a"),
        std::string("s3://bucket/pictures/../a"), std::string("http://169.254.169.254/latest"),
        std::string("https://bucket.s3.amazonaws.com/pictures/a"), std::string("/etc/passwd"),
        std::string("file:///etc/passwd"), std::string("")}) {
    SCOPED_TRACE(other);
    test::expect_error(ErrorCode::kPermissionDenied, {"prefixes"}, [&] { urls.read(other, 100); });
  }
  test::expect_error(ErrorCode::kNotFound, {"open/none"}, [&] { urls.read(url("open/none"), 9); });
  test::expect_error(ErrorCode::kInvalidArgument, {"5 bytes"},
                     [&] { urls.read(url("open/a"), 5); });
}

TEST_F(AllowedUrlsTest, APictureIsFetched) {
  std::ofstream(folder_ / "open" / "picture") << "34";
  InferenceOptions options;
  options.allowed_urls = {url("open")};
  InferenceService service(options);
  service.use(std::make_shared<Adder>());
  std::promise<HttpResponse> answer;
  service.handle(
      {"POST",
       "/invocations",
       {{"Content-Type", "application/json"}},
       "{\"url\": \"" + url("open/picture") + "\"}",
       "id"},
      std::make_shared<Exchange>([&](HttpResponse r) { answer.set_value(std::move(r)); }));
  EXPECT_EQ(answer.get_future().get().body, "[[7]]");
}

}  // namespace
}  // namespace musher

// Against a real S3 server behind a proxy for each kind of fault (tests/support/fault_proxy.py),
// which does it to the first time that each request comes. run_s3_test.py starts them all.
#include <cstdlib>

#include "store_testing.h"

namespace musher {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

std::string environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) throw std::runtime_error(name + " is not set: run run_s3_test.py");
  return value;
}

class Faults : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<ObjectStore> open(milliseconds retry_limit = milliseconds(20'000)) const {
    StorageConfig config = StorageConfig::from_environment();
    config.s3_endpoint = environment(std::string("MUSHER_TEST_FAULT_") + GetParam());
    config.request_timeout = milliseconds(1'000);
    config.retry_limit = retry_limit;
    config.first_backoff = milliseconds(5);
    config.max_backoff = milliseconds(50);
    const auto uri =
        Uri::parse("s3://" + environment("MUSHER_TEST_BUCKET") + "/faults/" + GetParam());
    return open_store(uri, config);
  }
};

TEST_P(Faults, NothingIsLostAndNothingIsHalf) {
  const auto store = open();
  const std::string small = noise(100'000, 1);
  const std::string large = noise(20 << 20, 2);
  store->put("a/small", bytes_of(small));
  store->put("a/large", bytes_of(large));
  EXPECT_TRUE(read_text(*store, "a/small") == small);
  EXPECT_TRUE(read_text(*store, "a/large") == large);
  EXPECT_TRUE(text_of(store->read("a/small", 1'000, 50'000)) == small.substr(1'000, 50'000));
  EXPECT_EQ(store->head("a/large").size, large.size());
  const auto writer = store->writer("a/streamed");
  for (std::size_t at = 0; at < large.size(); at += 3 << 20) {
    writer->write(bytes_of(large.substr(at, 3 << 20)));
  }
  writer->commit();
  EXPECT_TRUE(read_text(*store, "a/streamed") == large);
  EXPECT_THAT(keys_of(*store), testing::ElementsAre("a/large", "a/small", "a/streamed"));
  EXPECT_THAT(store->folders(""), testing::ElementsAre("a"));
  store->remove("a/small");
  expect_error(ErrorCode::kNotFound, "a/small", [&] { store->head("a/small"); });
  store->remove_folder("a");
  EXPECT_THAT(keys_of(*store), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Each, Faults,
                         testing::Values("error", "slow_down", "reset", "lost_answer", "cut",
                                         "truncated", "short", "stall", "slow", "finished"),
                         [](const auto& info) { return std::string(info.param); });

/// Every request meets the fault, every time.
class Away : public Faults {};

TEST_P(Away, TheStoresOwnErrorNamesTheObjectOnceTheLimitIsOver) {
  const auto store = open(milliseconds(300));
  expect_error(ErrorCode::kUnavailable, store->root().str() + "/k",
               [&] { store->put("k", bytes_of("x")); });
  expect_error(ErrorCode::kUnavailable, store->root().str() + "/k", [&] { store->read("k"); });
  expect_error(ErrorCode::kUnavailable, store->root().str(), [&] { keys_of(*store); });
}

INSTANTIATE_TEST_SUITE_P(Each, Away, testing::Values("always_error", "always_slow_down", "away"),
                         [](const auto& info) { return std::string(info.param); });

class Short : public Faults {};

// Arrow takes what came for all, and leaves the rest of the buffer as it was.
TEST_P(Short, ABodyThatIsAlwaysShortIsNeverTakenForTheObject) {
  StorageConfig config = StorageConfig::from_environment();
  const auto straight = open_store(open()->root(), config);
  const auto store = open(milliseconds(300));
  // A byte that looks as one of the marks that the reader lays is no mark.
  for (const char last : {'\xa5', '\x5a', 'x'}) {
    const std::string text = noise(1'000, 4) + last;
    straight->put("k", bytes_of(text));
    EXPECT_TRUE(read_text(*straight, "k") == text);
    expect_error(ErrorCode::kUnavailable, store->root().str() + "/k: fewer than the 1001 bytes",
                 [&] { store->read("k"); });
  }
}

INSTANTIATE_TEST_SUITE_P(Each, Short, testing::Values("always_short"),
                         [](const auto& info) { return std::string(info.param); });

class Full : public Faults {};

TEST_P(Full, AStoreThatTakesNoMoreSaysSoAtOnce) {
  const auto store = open(milliseconds(20'000));
  expect_error(ErrorCode::kResourceExhausted,
               store->root().str() + "/k: the server is out of space",
               [&] { store->put("k", bytes_of("x")); });
  expect_error(ErrorCode::kResourceExhausted, store->root().str() + "/k",
               [&] { store->put("k", bytes_of(noise(20 << 20, 3))); });
}

INSTANTIATE_TEST_SUITE_P(Each, Full, testing::Values("full"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace musher

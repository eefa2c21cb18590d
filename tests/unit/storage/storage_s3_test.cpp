// Against a real S3 server, which run_s3_test.py starts: it gives its address and keys in the
// environment.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/thread.h"
#include "storage/cached_store.h"
#include "store_testing.h"

namespace musher {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr)
    throw std::runtime_error(std::string(name) + " is not set: run run_s3_test.py");
  return value;
}

/// Environment variables that get their old values back at the end of a scope.
class Environment {
 public:
  Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    for (const auto& [name, value] : before_) apply(name, value);
  }

  void set(const std::string& name, const std::string& value) { change(name, value); }
  void unset(const std::string& name) { change(name, std::nullopt); }

 private:
  using Value = std::optional<std::string>;

  void change(const std::string& name, const Value& value) {
    const char* old = std::getenv(name.c_str());
    before_.emplace(name, old != nullptr ? Value(old) : std::nullopt);
    apply(name, value);
  }
  static void apply(const std::string& name, const Value& value) {
    value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }

  std::map<std::string, Value> before_;
};

/// A loopback port on which nothing answers: refused, or with `listening` accepted by the kernel
/// and then silent.
class DeadPort {
 public:
  explicit DeadPort(bool listening) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (bind(socket_, any, length) != 0 || getsockname(socket_, any, &length) != 0 ||
        (listening && listen(socket_, 8) != 0)) {
      throw std::runtime_error("no port");
    }
    port_ = ntohs(address.sin_port);
  }
  ~DeadPort() { close(socket_); }
  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  int socket_;
  int port_ = 0;
};

class S3 : public testing::Test {
 protected:
  /// A folder of its own for each test.
  Uri root() const {
    const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
    return Uri::parse("s3://" + environment("MUSHER_TEST_BUCKET") + "/" + test);
  }

  static StorageConfig config() {
    StorageConfig config = StorageConfig::from_environment();
    config.retry_limit = milliseconds(20'000);
    config.first_backoff = milliseconds(5);
    config.max_backoff = milliseconds(50);
    return config;
  }

  std::unique_ptr<ObjectStore> open() const { return open_store(root(), config()); }
};

TEST_F(S3, PutsReadsReplacesAndRemoves) {
  const auto store = open();
  store->put("a/b c+%é.txt", bytes_of("one"));
  EXPECT_EQ(read_text(*store, "a/b c+%é.txt"), "one");
  store->put("a/b c+%é.txt", bytes_of("second"));
  EXPECT_EQ(read_text(*store, "a/b c+%é.txt"), "second");
  const auto info = store->head("a/b c+%é.txt");
  EXPECT_EQ(info.size, 6u);
  EXPECT_GT(info.modified, 0);
  EXPECT_THAT(keys_of(*store), ElementsAre("a/b c+%é.txt"));
  store->remove("a/b c+%é.txt");
  store->remove("a/b c+%é.txt");
  expect_error(ErrorCode::kNotFound, "no such object", [&] { store->head("a/b c+%é.txt"); });
  EXPECT_THAT(keys_of(*store), IsEmpty());
}

TEST_F(S3, ACacheKnowsOtherBytesOfTheSameLengthByTheEntityTag) {
  std::string folder = (std::filesystem::temp_directory_path() / "s3-cache-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const auto cached = [&] {
    return CachedStore(open(), std::make_shared<LocalCache>(folder, 10 << 20, nullptr));
  };
  const auto store = open();
  const auto pieces = [&] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      count += entry.path().parent_path().filename().string().size() == 2 ? 1 : 0;
    }
    return count;
  };
  for (const std::string text : {"one", "two", "one"}) {
    store->put("a b.txt", bytes_of(text));  // all within the second that S3's clock counts in
    EXPECT_EQ(text_of(cached().read("a b.txt")), text);
    EXPECT_EQ(text_of(cached().read("a b.txt", 1, 2)), text.substr(1));
  }
  EXPECT_EQ(pieces(), 2U);
  expect_error(ErrorCode::kNotFound, "no such object", [&] { cached().read("gone", 0, 1); });
  std::filesystem::remove_all(folder);
}

TEST_F(S3, KeepsAnEmptyObject) {
  const auto store = open();
  store->put("empty", {});
  EXPECT_EQ(read_text(*store, "empty"), "");
  EXPECT_EQ(text_of(store->read("empty", 0, 0)), "");
  EXPECT_THAT(keys_of(*store), ElementsAre("empty"));
}

TEST_F(S3, ListsMoreThanOnePage) {
  constexpr int kObjects = 2'100, kThreads = 16;
  const auto store = open();
  std::vector<Thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back("put", [&, t] {
      for (int i = t; i < kObjects; i += kThreads) {
        store->put("class" + std::to_string(i % 3) + "/" + std::to_string(i), bytes_of("x"));
      }
    });
  }
  for (auto& thread : threads) thread.join_and_rethrow();

  std::set<std::string> keys;
  std::size_t pages = 0, total = 0;
  store->list("", [&](std::vector<ObjectInfo> page) {
    ++pages;
    total += page.size();
    for (const auto& object : page) {
      keys.insert(object.key);
      EXPECT_EQ(object.size, 1u) << object.key;
    }
  });
  EXPECT_EQ(keys.size(), static_cast<std::size_t>(kObjects));
  EXPECT_EQ(total, keys.size());
  EXPECT_GE(pages, 3u);
  EXPECT_EQ(keys_of(*store, "class1").size(), 700u);
  EXPECT_THAT(keys_of(*store, "class"), IsEmpty());
  EXPECT_THAT(keys_of(*store, "class1/1"), IsEmpty());
}

TEST_F(S3, AFolderGoesWithAllThatIsInIt) {
  const auto store = open();
  for (const char* key : {"a/b/1", "a/2", "ab/3"}) store->put(key, bytes_of("x"));
  EXPECT_THAT(store->folders(""), testing::UnorderedElementsAre("a", "ab"));
  EXPECT_THAT(store->folders("nowhere"), IsEmpty());
  store->remove("a/2");
  store->remove_folder("a");
  store->remove_folder("a");
  EXPECT_THAT(keys_of(*store), ElementsAre("ab/3"));
  EXPECT_THAT(store->folders(""), ElementsAre("ab"));
}

TEST_F(S3, AFolderMarkerIsNoObject) {
  const auto store = open_store(Uri::parse("s3://" + environment("MUSHER_TEST_BUCKET")), config());
  EXPECT_THAT(keys_of(*store, "marked"), ElementsAre("marked/object"));
  expect_error(ErrorCode::kNotFound, "marked", [&] { store->read("marked"); });
}

TEST_F(S3, UploadsInPartsAndReadsRanges) {
  const auto store = open();
  const std::string data = noise(20 << 20, 1);
  const auto writer = store->writer("big");
  for (std::size_t at = 0; at < data.size(); at += 3 << 20)
    writer->write(bytes_of(data.substr(at, 3 << 20)));
  expect_error(ErrorCode::kNotFound, "big", [&] { store->head("big"); });
  writer->commit();
  EXPECT_EQ(store->head("big").size, data.size());
  EXPECT_TRUE(read_text(*store, "big") == data);
  EXPECT_TRUE(text_of(store->read("big", 9'999'990, 1'000'000)) ==
              data.substr(9'999'990, 1'000'000));
  EXPECT_EQ(text_of(store->read("big", data.size() - 1, 1)), data.substr(data.size() - 1));
  expect_error(ErrorCode::kDataLoss, root().str() + "/big",
               [&] { store->read("big", data.size() - 1, 2); });
}

TEST_F(S3, PutsWhatIsLargerThanOnePart) {
  const auto store = open();
  const std::string data = noise(20 << 20, 2);
  store->put("big", bytes_of(data));
  EXPECT_TRUE(read_text(*store, "big") == data);
}

// run_s3_test.py looks for uploads that were left open.
TEST_F(S3, AnExceptionLeavesNothingBehind) {
  const auto store = open();
  store->put("k", bytes_of("old"));
  for (const std::size_t size : {std::size_t{10}, std::size_t{20} << 20}) {
    try {
      const auto writer = store->writer("k");
      writer->write(bytes_of(noise(size, 3)));
      throw std::runtime_error("between two writes");
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_EQ(read_text(*store, "k"), "old");
  EXPECT_THAT(keys_of(*store), ElementsAre("k"));
}

// Arrow's stream would complete the upload when it is destroyed.
TEST_F(S3, AnAbortThatFailsPublishesNothing) {
  StorageConfig undeletable = config();
  undeletable.s3_endpoint = environment("MUSHER_TEST_UNDELETABLE_ENDPOINT");
  undeletable.retry_limit = milliseconds(200);
  {
    const auto writer = open_store(root(), undeletable)->writer("k");
    writer->write(bytes_of(noise(20 << 20, 5)));
  }
  expect_error(ErrorCode::kNotFound, "no such object", [&] { open()->head("k"); });
}

TEST_F(S3, ErrorsNameTheUri) {
  const auto store = open();
  const std::string uri = root().str() + "/a/missing";
  expect_error(ErrorCode::kNotFound, uri, [&] { store->read("a/missing"); });
  expect_error(ErrorCode::kNotFound, uri, [&] { store->read("a/missing", 0, 1); });
  expect_error(ErrorCode::kNotFound, uri, [&] { store->head("a/missing"); });
}

TEST_F(S3, AMissingBucketIsNamed) {
  const auto store = open_store(Uri::parse("s3://no-such-bucket/prefix"), config());
  const std::string why = "the bucket no-such-bucket does not exist";
  expect_error(ErrorCode::kNotFound, why, [&] { keys_of(*store); });
  expect_error(ErrorCode::kNotFound, why, [&] { store->read("k"); });
  expect_error(ErrorCode::kNotFound, why, [&] { store->head("k"); });
  expect_error(ErrorCode::kNotFound, "s3://no-such-bucket/prefix/k",
               [&] { store->put("k", bytes_of("x")); });
  expect_error(ErrorCode::kNotFound, "s3://no-such-bucket/prefix/k",
               [&] { store->put("k", bytes_of(noise(20 << 20, 4))); });
}

TEST_F(S3, AWrongSecretIsCalledThat) {
  Environment wrong;
  wrong.set("AWS_SECRET_ACCESS_KEY", "wrong");
  const auto store = open();
  const std::string why = "secret access key does not belong";
  expect_error(ErrorCode::kPermissionDenied, why, [&] { store->head("k"); });
  expect_error(ErrorCode::kPermissionDenied, why, [&] { store->read("k"); });
  expect_error(ErrorCode::kPermissionDenied, why, [&] { store->put("k", bytes_of("x")); });
  expect_error(ErrorCode::kPermissionDenied, why, [&] { keys_of(*store); });
}

TEST_F(S3, AnUnknownKeyIsCalledThat) {
  Environment wrong;
  wrong.set("AWS_ACCESS_KEY_ID", "AKIANOBODY");
  expect_error(ErrorCode::kPermissionDenied, "AKIANOBODY", [&] { open()->head("k"); });
  expect_error(ErrorCode::kPermissionDenied, "does not know the access key id",
               [&] { open()->head("k"); });
}

TEST_F(S3, NoCredentialsAreCalledThat) {
  Environment none;
  none.unset("AWS_ACCESS_KEY_ID");
  none.unset("AWS_SECRET_ACCESS_KEY");
  expect_error(ErrorCode::kPermissionDenied, "no AWS credentials found",
               [&] { open()->head("k"); });
}

TEST_F(S3, FindsCredentialsInAProfile) {
  Environment profile;
  profile.unset("AWS_ACCESS_KEY_ID");
  profile.unset("AWS_SECRET_ACCESS_KEY");
  profile.set("AWS_SHARED_CREDENTIALS_FILE", environment("MUSHER_TEST_PROFILES"));
  profile.set("AWS_PROFILE", "trainer");
  open()->put("k", bytes_of("by profile"));
  EXPECT_EQ(read_text(*open(), "k"), "by profile");
}

TEST_F(S3, FindsCredentialsOfTheInstanceRole) {
  Environment role;
  role.unset("AWS_ACCESS_KEY_ID");
  role.unset("AWS_SECRET_ACCESS_KEY");
  role.set("AWS_EC2_METADATA_DISABLED", "false");
  role.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", environment("MUSHER_TEST_METADATA_ENDPOINT"));
  open()->put("k", bytes_of("by role"));
  EXPECT_EQ(read_text(*open(), "k"), "by role");
}

TEST_F(S3, DroppedConnectionsAreTriedAgain) {
  StorageConfig dropping = config();
  dropping.s3_endpoint = environment("MUSHER_TEST_DROPPING_ENDPOINT");
  StorageConfig impatient = dropping;
  impatient.retry_limit = milliseconds(0);
  expect_error(ErrorCode::kUnavailable, root().str() + "/k",
               [&] { open_store(root(), impatient)->put("k", bytes_of("x")); });
  // Two more are dropped.
  const auto store = open_store(root(), dropping);
  store->put("k", bytes_of("arrived"));
  EXPECT_EQ(read_text(*store, "k"), "arrived");
}

// Without a limit that holds, these two hang until the test's own time-out.
TEST_F(S3, AServerThatIsDownIsUnavailable) {
  const DeadPort port(/*listening=*/false);
  StorageConfig down = config();
  down.s3_endpoint = port.endpoint();
  down.retry_limit = milliseconds(300);
  const auto store = open_store(root(), down);
  expect_error(ErrorCode::kUnavailable, root().str() + "/k", [&] { store->read("k"); });
  expect_error(ErrorCode::kUnavailable, root().str() + "/k",
               [&] { store->put("k", bytes_of("x")); });
  expect_error(ErrorCode::kUnavailable, root().str(), [&] { keys_of(*store); });
  expect_error(ErrorCode::kUnavailable, root().str() + "/k", [&] { store->remove("k"); });
}

TEST_F(S3, AServerThatHangsIsUnavailable) {
  const DeadPort port(/*listening=*/true);
  StorageConfig hung = config();
  hung.s3_endpoint = port.endpoint();
  hung.request_timeout = milliseconds(1'000);
  hung.retry_limit = milliseconds(0);
  expect_error(ErrorCode::kUnavailable, root().str() + "/k",
               [&] { open_store(root(), hung)->read("k"); });
}

}  // namespace
}  // namespace musher

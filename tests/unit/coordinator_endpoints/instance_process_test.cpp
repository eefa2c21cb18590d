#include "coordinator/endpoints/instance_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/endpoints/settings.h"

namespace musher {
namespace {

using testing::ElementsAre;

TEST(InstanceLog, SaysThePort) {
  EXPECT_EQ(listening_port(""), std::nullopt);
  EXPECT_EQ(listening_port("2026-11-27T20:00:00.000Z info listening on 127.0.0.1:43"), std::nullopt)
      << "the line is still being written";
  EXPECT_EQ(listening_port("one\n2026-11-27T20:00:00.000Z info listening on 127.0.0.1:4321\nmore"),
            4321);
  EXPECT_EQ(listening_port("listening on something else\n"), std::nullopt);
}

TEST(InstanceLog, LastWordsAreTheLastLineThatSaysSomething) {
  EXPECT_EQ(last_words(""), "");
  EXPECT_EQ(last_words("\n\n"), "");
  EXPECT_EQ(last_words("first\nmusher-endpoint: file:///x: not found\n\n"),
            "musher-endpoint: file:///x: not found");
  EXPECT_EQ(last_words("2026-11-27T20:00:00.000Z info ended\n"), "info ended");
  EXPECT_EQ(last_words(std::string(2'000, 'x')).size(), 500U);
}

TEST(InstanceArguments, ShareTheCoresAmongAllThatThereMayBe) {
  v1::EndpointSettings given;
  given.set_model("s3://b/m.tar.gz");
  given.set_max_capacity(4);
  given.add_server_options("max-batch-size=8");
  EXPECT_THAT(instance_argv("server", "dogs", with_defaults(given), 16),
              ElementsAre("server", "--model", "s3://b/m.tar.gz", "--port", "0", "--threads=4",
                          "--max-batch-size=8"));
  given.add_server_options("threads=2");
  given.set_keys("/keys");
  EXPECT_THAT(
      instance_argv("server", "dogs", with_defaults(given), 2),
      ElementsAre("server", "--model", "s3://b/m.tar.gz", "--port", "0", "--max-batch-size=8",
                  "--threads=2", "--endpoint", "dogs", "--keys", "/keys", "--region", "us-east-1"));
}

}  // namespace
}  // namespace musher

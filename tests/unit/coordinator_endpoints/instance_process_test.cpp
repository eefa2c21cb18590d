#include "coordinator/endpoints/instance_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/endpoints/settings.h"
#include "coordinator/host_instance.h"

namespace musher {
namespace {

using testing::ElementsAre;

TEST(InstanceLog, SaysWhereItListens) {
  EXPECT_EQ(listening_at(""), std::nullopt);
  EXPECT_EQ(listening_at("2026-11-27T20:00:00.000Z info listening on 127.0.0.1:43"), std::nullopt)
      << "the line is still being written";
  EXPECT_EQ(listening_at("one\n2026-11-27T20:00:00.000Z info listening on 10.0.0.7:4321\nmore"),
            (ListeningAt{"10.0.0.7", 4321}));
  EXPECT_EQ(listening_at("listening on something else\n"), std::nullopt);
}

TEST(InstanceLog, OfAnotherHostSaysWhetherTheHostKnowsOfItsEnd) {
  const std::string ready = "2026-11-27T20:00:00.000Z info ready: s3://b/m\n";
  HostEnd end = end_on_host(ready + "musher-endpoint: s3://b/m: not found\n" +
                            std::string(kInstanceOver) + "exit code 1\n");
  EXPECT_TRUE(end.said);
  EXPECT_EQ(end.words, "exit code 1: musher-endpoint: s3://b/m: not found");
  end = end_on_host(ready + "client_loop: send disconnect: Broken pipe\r\n");
  EXPECT_FALSE(end.said);
  EXPECT_EQ(end.words,
            "the connection to the host ended: client_loop: send disconnect: Broken pipe");
  end = end_on_host(ready);
  EXPECT_FALSE(end.said);
  EXPECT_EQ(end.words, "the connection to the host ended") << "that it was ready is no reason";
  EXPECT_EQ(end_on_host("").words, "the connection to the host ended");
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
              ElementsAre("server", "--model", "s3://b/m.tar.gz", "--port", "0",
                          "--max-batch-size=8", "--threads=4"));
  given.add_server_options("threads=2");
  given.set_keys("/keys");
  EXPECT_THAT(
      instance_argv("server", "dogs", with_defaults(given), 2),
      ElementsAre("server", "--model", "s3://b/m.tar.gz", "--port", "0", "--max-batch-size=8",
                  "--threads=2", "--endpoint", "dogs", "--region", "us-east-1", "--keys", "/keys"));
  EXPECT_THAT(
      host_instance_argv("server", "dogs", with_defaults(given)),
      ElementsAre("server", "--model", "s3://b/m.tar.gz", "--port", "0", "--max-batch-size=8",
                  "--threads=2", "--endpoint", "dogs", "--region", "us-east-1"))
      << "keys are where the host puts them";
}

}  // namespace
}  // namespace musher

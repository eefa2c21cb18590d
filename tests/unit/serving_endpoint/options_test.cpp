#include "serving/server/options.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace musher {
namespace {

EndpointOptions parsed(std::vector<const char*> words) {
  words.insert(words.begin(), {"musher-endpoint", "--model", "file:///m/model.tar.gz"});
  return *parse_endpoint_options(static_cast<int>(words.size()), words.data());
}

TEST(EndpointOptions, AreTakenInTheirUnits) {
  const EndpointOptions options =
      parsed({"--preferred-batch-sizes", "8,16", "--max-batch-delay-ms", "0.5", "--instances", "2",
              "--body-limit-mib", "1", "--allow-url", "s3://a/b", "--allow-url", "s3://c"});
  EXPECT_EQ(options.inference.batching.preferred_sizes, (std::vector<std::size_t>{8, 16}));
  EXPECT_EQ(options.inference.batching.max_batch_delay, std::chrono::microseconds(500));
  EXPECT_EQ(options.http.body_limit, 1u << 20);
  EXPECT_EQ(options.inference.url_limit, 1u << 20);
  EXPECT_EQ(options.inference.allowed_urls.size(), 2u);
  EXPECT_EQ(options.http.port, 8080);
  EXPECT_FALSE(options.metrics);
  const EndpointOptions watched = parsed({"--metrics-listen", "localhost:9100"});
  EXPECT_EQ(watched.metrics->address, "127.0.0.1");
  EXPECT_EQ(watched.metrics->port, 9100);
  EXPECT_EQ(parsed({"--address", "localhost"}).http.address, "127.0.0.1");
}

TEST(EndpointOptions, OthersReachItByTlsAndSignedAlone) {
  const EndpointOptions options =
      parsed({"--address", "0.0.0.0", "--tls", "/t", "--endpoint", "dogs", "--keys", "/k"});
  EXPECT_EQ(options.http.tls->certificate, "/t/certificate.pem");
  EXPECT_EQ(options.http.tls->key, "/t/key.pem");
  EXPECT_FALSE(parsed({}).http.tls);
}

TEST(EndpointOptions, ATokenGuardsAnAddressToo) {
  const EndpointOptions options =
      parsed({"--address", "10.0.0.1", "--tls", "/t", "--token", "/t/token"});
  EXPECT_EQ(options.token, "/t/token");
  EXPECT_EQ(parsed({}).token, "");
}

TEST(EndpointOptions, WhatIsWrongIsNamed) {
  const auto refused = [](const char* part, std::vector<const char*> words) {
    test::expect_error(ErrorCode::kInvalidArgument, {part, "--help"}, [&] { parsed(words); });
  };
  refused("--tls", {"--address", "0.0.0.0"});
  refused("--keys", {"--address", "0.0.0.0", "--tls", "/t"});
  refused("--tls", {"--address", "10.0.0.1", "--endpoint", "dogs", "--keys", "/k"});
  refused("--tls", {"--address", "10.0.0.1", "--token", "/k/token"});
  refused("--tls", {"--address", "127.evil.example"});
  refused("--port", {"--port", "65536"});
  for (const char* listener : {"0.0.0.0:9100", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":1"})
    refused("--metrics-listen", {"--metrics-listen", listener});
  refused("--max-batch-size", {"--max-batch-size", "0"});
  refused("--preferred-batch-sizes", {"--preferred-batch-sizes", "8,"});
  refused("--preferred-batch-sizes", {"--preferred-batch-sizes", "a"});
  refused("--buffer-limit-mib", {"--buffer-limit-mib", "1"});
  refused("--keys", {"--endpoint", "dogs"});
  refused("--keys", {"--keys", "/k"});
  refused("unrecognised", {"--batch", "3"});
  test::expect_error(ErrorCode::kInvalidArgument, {"preferred_sizes"}, [] {
    parsed({"--preferred-batch-sizes", "64"});
  });
  const char* bare[] = {"musher-endpoint"};
  test::expect_error(ErrorCode::kInvalidArgument, {"--model"},
                     [&] { parse_endpoint_options(1, bare); });
  const char* http[] = {"musher-endpoint", "--model", "http://a/model.tar.gz"};
  test::expect_error(ErrorCode::kInvalidArgument, {"http://a"},
                     [&] { parse_endpoint_options(3, http); });
}

}  // namespace
}  // namespace musher

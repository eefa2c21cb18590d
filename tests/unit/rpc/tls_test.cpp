#include "rpc/tls.h"

#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace musher {
namespace {

TEST(Tls, OnlyTheLoopbackIsReachedWithoutIt) {
  grpc::ChannelArguments arguments;
  EXPECT_NE(channel_credentials(Endpoint::parse("127.0.0.1:7077"), arguments), nullptr);
  for (const char* address : {"10.0.0.1:7077", "127.evil.example:7077"}) {
    EXPECT_THROW(channel_credentials(Endpoint::parse(address), arguments), Error) << address;
  }
}

}  // namespace
}  // namespace musher

#include "common/loopback.h"

#include <gtest/gtest.h>

namespace musher {
namespace {

TEST(Loopback, IsLocalhostAndTheAddressesThatNobodyElseReaches) {
  for (const char* host : {"localhost", "127.0.0.1", "127.1.2.3", "127.255.255.255", "::1", "[::1]",
                           "0:0:0:0:0:0:0:1"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
}

TEST(Loopback, ANameThatBeginsLikeAnAddressIsSomebodysMachine) {
  for (const char* host :
       {"127.evil.example", "127.0.0.1.evil.example", "127.", "127.0.0.1.", "127.0.0.1 ", "127",
        "localhost.evil.example", "[localhost]", "[127.0.0.1]"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
  EXPECT_FALSE(is_loopback(std::string("127.0.0.1\0.evil.example", 23)));
}

TEST(Loopback, OtherAddressesAreNot) {
  for (const char* host : {"", "0.0.0.0", "::", "[::]", "[::1", "::1]", "128.0.0.1", "10.0.0.127",
                           "::2", "fe80::1", "h1"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

}  // namespace
}  // namespace musher

#include "common/checksum.h"

#include <gtest/gtest.h>

namespace musher {
namespace {

// Values of the reference implementation: checkpoints written on one platform are read on another.
TEST(Checksum, IsXxh3OnEveryPlatform) {
  EXPECT_EQ(hex64(hash64(std::string_view(""))), "2d06800538d394c2");
  EXPECT_EQ(hex64(hash64(std::string_view("abc"))), "78af5f94892f3950");
}

TEST(Checksum, SeesTheSeedAndEveryByte) {
  const std::string text(100'000, 'a');
  std::string other = text;
  other[77'777] = 'b';
  EXPECT_NE(hash64(text), hash64(other));
  EXPECT_NE(hash64(text), hash64(text, 1));
  EXPECT_EQ(hash64(text), hash64(std::as_bytes(std::span(text))));
}

TEST(Checksum, ComesOutTheSameInPieces) {
  const std::string text(100'000, 'a');
  const auto bytes = std::as_bytes(std::span(text));
  RunningHash hash;
  EXPECT_EQ(hash.value(), hash64(std::string_view("")));
  for (std::size_t at = 0; at < bytes.size(); at += 777) {
    hash.add(bytes.subspan(at, std::min<std::size_t>(777, bytes.size() - at)));
  }
  EXPECT_EQ(hash.size(), bytes.size());
  EXPECT_EQ(hash.value(), hash64(bytes));
}

TEST(Checksum, HexKeepsLeadingZeros) {
  EXPECT_EQ(hex64(0), "0000000000000000");
  EXPECT_EQ(hex64(0x0123456789abcdefULL), "0123456789abcdef");
}

}  // namespace
}  // namespace musher

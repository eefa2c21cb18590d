#include "dataset/digest.h"

#include <cmath>

#include <gtest/gtest.h>

#include "common/checksum.h"
#include "support/expect_error.h"

namespace musher {
namespace {

TEST(Digest, OfAnEpochIsTheSumOverTheManifest) {
  Manifest manifest({"a"});
  Digest wanted;
  for (const std::string shard : {"x", "y"}) {
    std::vector<Sample> samples(3);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      samples[i].key = samples[i].object = shard + std::to_string(i);
      wanted.add(hash64(samples[i].key), 5);
    }
    manifest.add_shard(samples);
  }
  EXPECT_EQ(epoch_digest(manifest, 5), wanted);
  EXPECT_EQ(wanted.samples, 6U);
  EXPECT_NE(epoch_digest(manifest, 6), wanted);
}

TEST(Digest, LeavesOutWhatCouldNotBeDecoded) {
  Digest all;
  for (std::uint64_t key : {11, 12, 13}) all.add(key, 1);
  Digest seen;
  for (std::uint64_t key : {13, 11}) seen.add(key, 1);
  Digest left_out;
  left_out.add(12, 1);
  Digest expected = all;
  expected -= left_out;
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(seen += left_out, all);
}

TEST(Digest, PiecesGiveBackTheSum) {
  for (std::uint64_t sum : {0ULL, 1ULL, 0xffULL, 0x0123'4567'89ab'cdefULL, ~0ULL}) {
    for (float piece : split_digest(sum)) EXPECT_LT(piece, 256);
    EXPECT_EQ(join_digest(split_digest(sum)), sum);
  }
}

TEST(Digest, PiecesAddExactlyOverTheMostRanks) {
  std::array<float, 8> pieces{};
  std::uint64_t wanted = 0;
  for (int rank = 0; rank < 65'536; ++rank) {
    wanted += ~0ULL;
    const auto more = split_digest(~0ULL);
    for (std::size_t i = 0; i < pieces.size(); ++i) pieces[i] += more[i];
  }
  EXPECT_EQ(join_digest(pieces), wanted);
}

TEST(Digest, RefusesPiecesThatNoSumGives) {
  for (const float bad : {-1.0F, 0.5F, 0x1p24F, std::nanf(""), INFINITY}) {
    auto pieces = split_digest(1);
    pieces[3] = bad;
    test::expect_error(ErrorCode::kDataLoss, {"digest piece 3"}, [&] { join_digest(pieces); });
  }
}

}  // namespace
}  // namespace musher

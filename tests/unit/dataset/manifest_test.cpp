#include "dataset/manifest.h"

#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/checksum.h"
#include "common/random.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using test::error_of;
using test::expect_error;

Sample make_sample(const std::string& key, const std::string& object, std::uint64_t offset,
                   std::uint64_t size, std::int64_t label) {
  Sample made;
  made.key = key;
  made.object = object;
  made.offset = offset;
  made.size = size;
  made.label = label;
  made.key_hash = hash64(key);
  return made;
}

std::vector<Sample> folder_samples(int count) {
  std::vector<Sample> samples;
  for (int i = 0; i < count; ++i) {
    const std::string key = fmt::format("class-{:03}/{:05}.jpg", i / 100, i);
    samples.push_back(make_sample(key, key, 0, 100'000 + i, i / 100));
  }
  return samples;
}

std::vector<Sample> tar_samples(const std::string& tar, int count) {
  std::vector<Sample> samples;
  for (int i = 0; i < count; ++i) {
    samples.push_back(make_sample(fmt::format("{}/{:06}", tar, i), tar, 512 + i * 102'400,
                                  100'000 + i, i * 7 % 1000));
  }
  return samples;
}

std::vector<Sample> mixed_samples() {
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  return {make_sample("", "", kMost, kMost, std::numeric_limits<std::int64_t>::min()),
          make_sample("é/\xff\n", "other", 0, 0, std::numeric_limits<std::int64_t>::max()),
          make_sample("é/\xff", "other", 1, kMost, -1), make_sample("é/\xff", "", kMost, 1, 0)};
}

void expect_same(const std::vector<Sample>& got, const std::vector<Sample>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].key, wanted[i].key);
    EXPECT_EQ(got[i].object, wanted[i].object);
    EXPECT_EQ(got[i].offset, wanted[i].offset);
    EXPECT_EQ(got[i].size, wanted[i].size);
    EXPECT_EQ(got[i].label, wanted[i].label);
    EXPECT_EQ(got[i].key_hash, wanted[i].key_hash);
  }
}

/// With a checksum that fits, so that the parser behind it meets the damage.
void sign_again(std::vector<std::byte>& block) {
  const std::uint64_t checksum = hash64(std::span(block).first(block.size() - 8));
  for (int i = 0; i < 8; ++i) {
    block[block.size() - 8 + i] = static_cast<std::byte>(checksum >> (8 * i));
  }
}

TEST(ManifestBlock, GivesBackWhatWasPutIn) {
  for (const auto& samples : {std::vector<Sample>{}, folder_samples(1), folder_samples(256),
                              tar_samples("train/0001.tar", 300), mixed_samples()}) {
    expect_same(decode_shard(encode_shard(samples)), samples);
  }
}

TEST(ManifestBlock, HasTheBytesOfTheDocumentation) {
  const std::vector<Sample> samples = {make_sample("a/1.jpg", "a/1.jpg", 0, 300, 0),
                                       make_sample("a/2.jpg", "a/2.jpg", 0, 5, 1)};
  const std::string wanted = std::string("MSHB\x01\x02\x00", 7) + std::string("\x00\x07", 2) +
                             "a/1.jpg" + std::string("\xac\x02\x00", 3) + "\x02\x05" + "2.jpg" +
                             "\x05\x02";
  const auto block = encode_shard(samples);
  ASSERT_EQ(block.size(), wanted.size() + 8);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(block.data()), wanted.size()), wanted);
  std::uint64_t checksum = 0;
  for (int i = 7; i >= 0; --i)
    checksum = checksum << 8 | std::to_integer<int>(block[wanted.size() + i]);
  EXPECT_EQ(checksum, hash64(wanted));
}

// Ten million such samples must fit in a few hundred MB: 150 MB here.
TEST(ManifestBlock, TakesFewBytesASampleOfAFolder) {
  const auto samples = folder_samples(10'000);
  const std::size_t shard = 256;
  // Two for the key's lengths, at most "00000.jpg" of the key itself, three for sizes below 2^21,
  // one for the label.
  const std::size_t each = 2 + 9 + 3 + 1;
  // Magic, version, number of samples, kind, checksum, and what the first sample can't share: its
  // folder, its label.
  const std::size_t head = 4 + 1 + 2 + 1 + 8 + std::string("class-000/").size() + 2;
  for (std::size_t begin = 0; begin < samples.size(); begin += shard) {
    const auto part = std::span(samples).subspan(begin, std::min(shard, samples.size() - begin));
    EXPECT_LE(encode_shard(part).size(), part.size() * each + head);
  }
}

TEST(ManifestBlock, HoldsTheNameOfATarOnce) {
  const std::string tar = "0.tar";
  const std::string long_tar = std::string(90, 'x') + tar;
  const auto small = encode_shard(tar_samples(tar, 1000)).size();
  // Once as the object and once in the first key. Below 128 a length takes one byte in either.
  EXPECT_EQ(encode_shard(tar_samples(long_tar, 1000)).size(), small + 2 * 90 + 0);
}

TEST(ManifestBlock, CutOffAnywhereIsDataLoss) {
  for (const auto& samples : {folder_samples(20), tar_samples("t.tar", 20), mixed_samples()}) {
    const auto block = encode_shard(samples);
    for (std::size_t length = 0; length < block.size(); ++length) {
      // A copy of just that length, so that a sanitizer sees a read past the end.
      const std::vector<std::byte> cut(block.begin(), block.begin() + static_cast<int>(length));
      expect_error(ErrorCode::kDataLoss, {"manifest block"}, [&] { decode_shard(cut); });
    }
  }
}

TEST(ManifestBlock, EveryFlippedBitIsDataLoss) {
  const auto block = encode_shard(tar_samples("t.tar", 20));
  for (std::size_t bit = 0; bit < 8 * block.size(); ++bit) {
    auto flipped = block;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    expect_error(ErrorCode::kDataLoss, {"manifest block"}, [&] { decode_shard(flipped); });
  }
}

// What a checksum can't find, such as a bug in an encoder, must not make the decoder read or
// allocate wildly.
TEST(ManifestBlock, DamageBehindARightChecksumNeverReadsPastTheEnd) {
  const std::vector<std::vector<std::byte>> blocks = {encode_shard(folder_samples(30)),
                                                      encode_shard(tar_samples("t.tar", 30)),
                                                      encode_shard(mixed_samples())};
  Random random{20'261'123};
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto block = blocks[random.below(blocks.size())];
    for (std::uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
      block[5 + random.below(block.size() - 13)] = static_cast<std::byte>(random.below(256));
    }
    if (random.below(4) == 0) block.resize(13 + random.below(block.size() - 12));
    block.shrink_to_fit();
    sign_again(block);
    const auto error = error_of([&] { decode_shard(block); });
    if (!error) continue;
    ++refused;
    ASSERT_EQ(error->code(), ErrorCode::kDataLoss) << error->what();
  }
  EXPECT_GT(refused, 1000);
}

TEST(ManifestBlock, SaysWhatIsWrong) {
  const auto damage = [](std::size_t at, int value) {
    auto block = encode_shard(folder_samples(3));
    block[at] = static_cast<std::byte>(value);
    sign_again(block);
    return block;
  };
  const auto expect_loss = [](std::initializer_list<std::string> parts,
                              std::vector<std::byte> block) {
    expect_error(ErrorCode::kDataLoss, parts, [&] { decode_shard(block); });
  };
  expect_loss({"does not begin with MSHB"}, damage(0, 'X'));
  expect_loss({"version 2", "reads 1"}, damage(4, 2));
  expect_loss({"100 samples do not fit"}, damage(5, 100));
  expect_loss({"kind of objects 3"}, damage(6, 3));
  expect_loss({"byte 8", "key shares 9 bytes with one of 0"}, damage(7, 9));
  expect_loss({"left over"}, damage(5, 2));
  auto flipped = encode_shard(folder_samples(3));
  flipped[10] ^= std::byte{1};
  expect_loss({"checksum does not match"}, flipped);
}

TEST(ManifestBlock, RefusesANameTooLongToBeReadAgain) {
  const std::string name(20'000, 'k');
  const std::vector<Sample> samples = {make_sample(name, name, 0, 1, 0)};
  expect_error(ErrorCode::kInvalidArgument, {"20000 bytes"}, [&] { encode_shard(samples); });
}

TEST(Manifest, CountsSamplesAndBytes) {
  Manifest manifest({"a", "b"});
  manifest.add_shard(tar_samples("0.tar", 2));
  manifest.add_shard({});
  manifest.add_shard(tar_samples("1.tar", 3));
  EXPECT_EQ(manifest.samples(), 5U);
  EXPECT_EQ(manifest.bytes(), 200'001U + 300'003U);
  ASSERT_EQ(manifest.shards().size(), 3U);
  EXPECT_EQ(manifest.shards()[2].samples, 3U);
  EXPECT_EQ(manifest.shards()[2].bytes, 300'003U);
  expect_same(manifest.shard(2), tar_samples("1.tar", 3));
  expect_same(decode_shard(manifest.block(0)), tar_samples("0.tar", 2));
}

TEST(Manifest, FingerprintTellsApartWhatTheDealWouldDealDifferently) {
  const auto print = [](std::vector<std::string> classes, std::vector<std::vector<Sample>> shards) {
    Manifest manifest(std::move(classes));
    for (const auto& samples : shards) manifest.add_shard(samples);
    return manifest.fingerprint();
  };
  const auto a = tar_samples("a.tar", 2);
  const auto b = tar_samples("b.tar", 2);
  const auto wanted = print({"x", "y"}, {a, b});
  EXPECT_EQ(print({"x", "y"}, {a, b}), wanted);
  EXPECT_NE(print({"x", "y"}, {b, a}), wanted);
  EXPECT_NE(print({"y", "x"}, {a, b}), wanted);
  EXPECT_NE(print({"xy"}, {a, b}), wanted);
  EXPECT_NE(print({"x", "y", ""}, {a, b}), wanted);
  EXPECT_NE(print({"x", "y"}, {a}), wanted);
  EXPECT_NE(print({"x", "y"}, {a, b, {}}), wanted);
  EXPECT_NE(print({"x", "y"}, {a, {b[0]}, {b[1]}}), wanted);
  auto relabelled = b;
  relabelled[1].label += 1;
  EXPECT_NE(print({"x", "y"}, {a, relabelled}), wanted);
}

}  // namespace
}  // namespace musher

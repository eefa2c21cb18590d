#include "dataset/tokens.h"

#include <array>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

using test::expect_error;
using test::MemoryStore;
using testing::ElementsAre;

ManifestOptions windows_of(std::uint64_t context, NumberType raw = NumberType::kUInt16) {
  ManifestOptions options;
  options.layout = TokenLayout{context, raw};
  return options;
}

template <typename T>
std::string raw(const std::vector<T>& tokens) {
  std::string bytes(tokens.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), tokens.data(), bytes.size());
  return bytes;
}

std::vector<float> window(MemoryStore& store, const Sample& sample, std::size_t length,
                          std::int64_t vocabulary = 100'000) {
  std::vector<float> out(length);
  read_tokens(store.read(sample.object, sample.offset, sample.size),
              static_cast<NumberType>(sample.label), vocabulary, out);
  return out;
}

TEST(Tokens, EveryTokenButTheFirstIsPredictedOnce) {
  MemoryStore store;
  store.put("b.bin", raw<std::uint16_t>({1, 2, 3, 4, 5, 6, 65535, 8}));
  store.put("a.bin", raw<std::uint16_t>({9, 10, 11}));
  store.put("short.bin", raw<std::uint16_t>({7}));
  store.put("read.me", "no tokens");
  ManifestOptions options = windows_of(2);
  std::vector<std::string> notices;
  options.notice = [&](const std::string& text) { notices.push_back(text); };
  const Manifest manifest = make_manifest(store, options);
  ASSERT_EQ(manifest.samples(), 4U);
  const auto first = manifest.shard(0);
  const auto second = manifest.shard(1);
  EXPECT_EQ(first[0].key, "a.bin/0");
  EXPECT_THAT(window(store, first[0], 3), ElementsAre(9, 10, 11));
  EXPECT_EQ(second[2].key, "b.bin/2");
  EXPECT_THAT(window(store, second[0], 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(window(store, second[1], 3), ElementsAre(3, 4, 5));
  EXPECT_THAT(window(store, second[2], 3), ElementsAre(5, 6, 65535));
  EXPECT_THAT(notices,
              ElementsAre("s3://memory/data: left out 1 files that are no .npy or .bin",
                          "s3://memory/data: 1 tokens at the ends of files fill no window of 2 and "
                          "are not predicted"));
}

TEST(Tokens, LongFilesHaveShardsOf256Windows) {
  MemoryStore store;
  store.put("a.bin", raw(std::vector<std::int32_t>(1 + 3 * 600, 70'000)));
  const Manifest manifest = make_manifest(store, windows_of(3, NumberType::kInt32));
  ASSERT_EQ(manifest.shards().size(), 3U);
  EXPECT_EQ(manifest.shards()[2].samples, 88U);
  EXPECT_THAT(window(store, manifest.shard(2).back(), 4),
              ElementsAre(70'000, 70'000, 70'000, 70'000));
}

TEST(Tokens, AFileThatIsNoStreamOfTokensIsNamed) {
  MemoryStore store;
  store.put("odd.bin", "123");
  expect_error(ErrorCode::kDataLoss, {"s3://memory/data/odd.bin has 3 bytes", "token_type"},
               [&] { make_manifest(store, windows_of(1)); });
  MemoryStore empty;
  empty.put("one.bin", raw<std::uint16_t>({1, 2}));
  expect_error(ErrorCode::kNotFound, {"s3://memory/data has no samples", "3 tokens or more"},
               [&] { make_manifest(empty, windows_of(2)); });
}

TEST(ReadTokens, ATokenOutsideOfTheVocabularyIsDataLoss) {
  MemoryStore store;
  store.put("a.bin", raw<std::int32_t>({1, 5, -2}));
  const Sample sample = make_manifest(store, windows_of(2, NumberType::kInt32)).shard(0)[0];
  expect_error(ErrorCode::kDataLoss, {"token 1 is 5", "vocabulary_size, 5"},
               [&] { window(store, sample, 3, 5); });
  expect_error(ErrorCode::kDataLoss, {"token 2 is -2"}, [&] { window(store, sample, 3, 6); });
  expect_error(ErrorCode::kDataLoss, {"not as long"}, [&] { window(store, sample, 4, 6); });
}

}  // namespace
}  // namespace musher

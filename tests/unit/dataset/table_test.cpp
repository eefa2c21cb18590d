#include "dataset/table.h"

#include <cmath>
#include <cstring>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/memory_store.h"

namespace musher {
namespace {

using test::expect_error;
using test::MemoryStore;
using testing::ElementsAre;

ManifestOptions table(bool header = false) {
  ManifestOptions options;
  options.layout = TableLayout{.header = header};
  return options;
}

std::vector<Sample> all_samples(const Manifest& manifest) {
  std::vector<Sample> samples;
  for (std::size_t shard = 0; shard < manifest.shards().size(); ++shard) {
    for (Sample& sample : manifest.shard(shard)) samples.push_back(std::move(sample));
  }
  return samples;
}

std::vector<float> row(MemoryStore& store, const Sample& sample, std::size_t columns) {
  std::vector<float> out(columns);
  read_row(store.read(sample.object, sample.offset, sample.size),
           static_cast<NumberType>(sample.label), out);
  return out;
}

template <typename T>
std::string npy(const std::string& descr, const std::string& shape, const std::vector<T>& values) {
  std::string head =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", descr, shape);
  head.resize((head.size() + 10 + 63) / 64 * 64 - 10, ' ');
  std::string file = "\x93NUMPY";
  file += {'\1', '\0', static_cast<char>(head.size()), '\0'};
  file += head;
  const std::size_t begin = file.size();
  file.resize(begin + values.size() * sizeof(T));
  std::memcpy(file.data() + begin, values.data(), values.size() * sizeof(T));
  return file;
}

TEST(Table, EveryLineOfACsvIsARow) {
  MemoryStore store;
  store.put("b.csv", "1,2\n3.5, -4e2\n");
  store.put("a.csv", "5,6\r\n\r\n  7,+8");
  store.put("notes.txt", "no table");
  ManifestOptions options = table();
  std::vector<std::string> notices;
  options.notice = [&](const std::string& text) { notices.push_back(text); };
  const Manifest manifest = make_manifest(store, options);
  EXPECT_THAT(manifest.classes(), ElementsAre("0", "1"));
  const auto samples = all_samples(manifest);
  ASSERT_EQ(samples.size(), 4U);
  EXPECT_EQ(samples[1].key, "a.csv/3") << "lines are counted as an editor does";
  EXPECT_EQ(samples[3].key, "b.csv/2");
  EXPECT_THAT(row(store, samples[0], 2), ElementsAre(5, 6));
  EXPECT_THAT(row(store, samples[1], 2), ElementsAre(7, 8));
  EXPECT_THAT(row(store, samples[3], 2), ElementsAre(3.5, -400));
  EXPECT_THAT(notices, ElementsAre("s3://memory/data: left out 1 files that are no .csv or .npy"));
}

TEST(Table, LinesThatLieAcrossTwoReadsAreWhole) {
  MemoryStore store;
  std::string text;
  for (int i = 0; i < 1'000'000; ++i) text += fmt::format("{},{}\n", i, -i);
  ASSERT_GT(text.size(), 8U << 20);
  store.put("long.csv", text);
  const Manifest manifest = make_manifest(store, table());
  EXPECT_EQ(manifest.samples(), 1'000'000U);
  for (std::size_t shard = 0; shard < manifest.shards().size(); shard += 50) {
    for (const Sample& sample : manifest.shard(shard)) {
      const int number = std::stoi(sample.key.substr(9)) - 1;
      ASSERT_EQ(text.substr(sample.offset, sample.size), fmt::format("{},{}", number, -number));
    }
  }
}

TEST(Table, AHeaderNamesTheColumnsOfAllFiles) {
  MemoryStore store;
  store.put("a.csv", "\xEF\xBB\xBF\"price\", area\n1,2\n");
  store.put("b.csv", "price,area\n3,4\n");
  const Manifest manifest = make_manifest(store, table(true));
  EXPECT_THAT(manifest.classes(), ElementsAre("price", "area"));
  EXPECT_EQ(manifest.samples(), 2U);
  store.put("c.csv", "area,price\n3,4\n");
  expect_error(ErrorCode::kInvalidArgument, {"/c.csv: names other columns"},
               [&] { make_manifest(store, table(true)); });
  expect_error(ErrorCode::kInvalidArgument, {"/a.csv: its first line", "csv_header must be true"},
               [&] { make_manifest(store, table()); });
}

TEST(Table, AValidationChannelHasTheColumnsOfTheTrainChannel) {
  MemoryStore store;
  store.put("a.csv", "price,area\n1,2\n");
  ManifestOptions options = table(true);
  options.classes = {{"area", "price"}};
  expect_error(ErrorCode::kInvalidArgument, {"/a.csv: names other columns"},
               [&] { make_manifest(store, options); });
  options.classes = {{"price", "area", "rooms"}};
  expect_error(ErrorCode::kInvalidArgument, {"/a.csv: has 2 columns", "have 3"},
               [&] { make_manifest(store, options); });
}

TEST(Table, RowsOfNpyFilesOfEachType) {
  MemoryStore store;
  store.put("a.npy", npy<float>("<f4", "(2, 3)", {1, 2, 3, 4, 5, 6}));
  store.put("b.npy", npy<double>("<f8", "(1, 3)", {0.5, -1, 1e-3}));
  store.put("c.npy", npy<std::int64_t>("<i8", "(1, 3)", {-7, 8, 9}));
  store.put("d.npy", npy<std::uint8_t>("|u1", "(1, 3)", {255, 0, 1}));
  store.put("e.csv", "10,11,12");
  const auto samples = all_samples(make_manifest(store, table()));
  ASSERT_EQ(samples.size(), 6U);
  EXPECT_EQ(samples[1].key, "a.npy/1");
  EXPECT_THAT(row(store, samples[1], 3), ElementsAre(4, 5, 6));
  EXPECT_THAT(row(store, samples[2], 3), ElementsAre(0.5, -1, 1e-3F));
  EXPECT_THAT(row(store, samples[3], 3), ElementsAre(-7, 8, 9));
  EXPECT_THAT(row(store, samples[4], 3), ElementsAre(255, 0, 1));
  EXPECT_THAT(row(store, samples[5], 3), ElementsAre(10, 11, 12));
}

TEST(Table, AnNpyThatIsNoTableIsNamed) {
  const auto expect = [](const std::string& file, ErrorCode code, const std::string& says) {
    MemoryStore store;
    store.put("x.npy", file);
    expect_error(code, {"s3://memory/data/x.npy", says}, [&] { make_manifest(store, table()); });
  };
  const std::vector<float> six = {1, 2, 3, 4, 5, 6};
  expect("NUMPY", ErrorCode::kInvalidArgument, "is no npy file");
  expect(npy("<f4", "(6,)", six), ErrorCode::kInvalidArgument, "rows and columns");
  expect(npy(">f4", "(2, 3)", six), ErrorCode::kInvalidArgument, "'>f4'");
  expect(npy("<f4", "(2, 4)", six), ErrorCode::kDataLoss, "not what its shape says");
  expect(npy("<f4", "(4611686018427387904, 8)", six), ErrorCode::kDataLoss, "shape");
}

TEST(Table, WithoutARowItSaysWhatWasLookedFor) {
  MemoryStore store;
  store.put("cat/1.jpg", "picture");
  expect_error(ErrorCode::kNotFound, {"s3://memory/data has no samples", "*.csv and *.npy"},
               [&] { make_manifest(store, table()); });
}

TEST(ReadRow, WhatIsNoRowIsDataLossThatNamesTheColumn) {
  std::vector<float> out(2);
  const auto read = [&](std::string_view line) {
    read_row(std::as_bytes(std::span(line)), NumberType::kText, out);
  };
  expect_error(ErrorCode::kDataLoss, {"column 1", "\"x\""}, [&] { read("1,x"); });
  expect_error(ErrorCode::kDataLoss, {"column 0", "\"\""}, [&] { read(",1"); });
  expect_error(ErrorCode::kDataLoss, {"3 columns", "has 2"}, [&] { read("1,2,3"); });
  expect_error(ErrorCode::kDataLoss, {"1 columns"}, [&] { read("1"); });
  expect_error(ErrorCode::kDataLoss, {"column 0", "finite"}, [&] { read("nan,2"); });
  expect_error(ErrorCode::kDataLoss, {"column 1", "finite"}, [&] { read("1,1e300"); });
}

TEST(ChooseColumns, FeaturesAreWhatIsNoTarget) {
  const std::vector<std::string> columns = {"price", "area", "rooms"};
  EXPECT_THAT(choose_columns(columns, {}, {}).targets, ElementsAre(0));
  EXPECT_THAT(choose_columns(columns, {}, {}).features, ElementsAre(1, 2));
  const ColumnChoice choice = choose_columns(columns, {"rooms"}, {"area", "price"});
  EXPECT_THAT(choice.targets, ElementsAre(1, 0));
  EXPECT_THAT(choice.features, ElementsAre(2));
}

TEST(ChooseColumns, AColumnThatIsNotThereOrIsBothIsNamed) {
  const std::vector<std::string> columns = {"price", "area"};
  expect_error(ErrorCode::kInvalidArgument, {"HyperParameters.target_columns", "\"cost\""},
               [&] { choose_columns(columns, {}, {"cost"}); });
  expect_error(ErrorCode::kInvalidArgument, {"HyperParameters.feature_columns", "\"price\""},
               [&] { choose_columns(columns, {"price"}, {}); });
  expect_error(ErrorCode::kInvalidArgument, {"HyperParameters.target_columns", "all 2 columns"},
               [&] {
                 choose_columns(columns, {}, {"price", "area"});
               });
}

}  // namespace
}  // namespace musher

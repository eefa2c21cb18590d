#include <cstring>
#include <string_view>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "common/random.h"
#include "model/weights.h"
#include "support/expect_error.h"

namespace musher {
namespace {

using test::error_of;
using test::expect_error;

/// A file with this header and so many bytes of data.
std::vector<std::byte> file(std::string_view header, std::size_t data) {
  std::vector<std::byte> bytes(8 + header.size() + data);
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(header.size() >> (8 * i));
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

void expect_damaged(const std::string& part, std::string_view header, std::size_t data) {
  SCOPED_TRACE(header);
  const auto bytes = file(header, data);
  expect_error(ErrorCode::kDataLoss, {"some.safetensors", part},
               [&] { from_safetensors(bytes, "some.safetensors"); });
}

NamedTensors one_of_each() {
  NamedTensors tensors;
  tensors.emplace_back("bool", at::full({3}, true, at::kBool));
  tensors.emplace_back("byte", at::arange(5, at::kByte));
  tensors.emplace_back("half", at::arange(3, at::kHalf));
  tensors.emplace_back("brain", at::arange(3, at::kBFloat16));
  tensors.emplace_back("int", at::arange(4, at::kInt));
  tensors.emplace_back("float", at::arange(6, at::kFloat).view({2, 3}).t());  // not contiguous
  tensors.emplace_back("scalar", at::full({}, 42, at::kLong));
  tensors.emplace_back("double", at::full({1, 1}, 0.1, at::kDouble));
  tensors.emplace_back("empty", at::zeros({0, 4}, at::kFloat));
  return tensors;
}

TEST(Safetensors, EveryDtypeComesBackAsItWas) {
  const auto tensors = one_of_each();
  const std::map<std::string, std::string> metadata{{"step", "7"}, {"who", "näme \"quoted\""}};
  const auto read = from_safetensors(to_safetensors(tensors, metadata), "memory");
  EXPECT_EQ(read.metadata, metadata);
  ASSERT_EQ(read.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE(read.tensors.at(name).equal(tensor)) << name;
    EXPECT_EQ(read.tensors.at(name).scalar_type(), tensor.scalar_type()) << name;
  }
}

TEST(Safetensors, DataIsAlignedForEachDtype) {
  const auto bytes = to_safetensors(one_of_each());
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  // The widest come first: the int64 and the double fill the first 16 bytes of the data.
  std::int64_t first = 0;
  std::memcpy(&first, bytes.data() + 8 + header, 8);
  EXPECT_EQ(first, 42);
}

TEST(Safetensors, TheSizeIsKnownBeforehand) {
  const auto tensors = one_of_each();
  EXPECT_EQ(safetensors_size(tensors, {{"a", "b"}}), to_safetensors(tensors, {{"a", "b"}}).size());
}

TEST(Safetensors, AReadTensorOutlivesTheBytes) {
  auto bytes = to_safetensors({{"x", at::arange(1000, at::kFloat)}});
  const auto read = from_safetensors(bytes, "memory");
  std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
  EXPECT_EQ(read.tensors.at("x")[999].item<float>(), 999.0f);
}

TEST(Safetensors, TwoTensorsOfOneNameAreRefused) {
  const auto x = at::zeros({1});
  expect_error(ErrorCode::kInvalidArgument, {"x"}, [&] { to_safetensors({{"x", x}, {"x", x}}); });
}

TEST(Safetensors, AnUnwritableDtypeIsNamed) {
  const auto x = at::empty({1}, at::kComplexFloat);
  expect_error(ErrorCode::kInvalidArgument, {"phase"}, [&] { to_safetensors({{"phase", x}}); });
}

TEST(SafetensorsDamage, EveryTruncationIsFound) {
  const auto bytes = to_safetensors(one_of_each(), {{"step", "7"}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto error = error_of([&] { from_safetensors(std::span(bytes).first(size), "cut"); });
    ASSERT_TRUE(error.has_value()) << "cut to " << size << " of " << bytes.size();
    EXPECT_EQ(error->code(), ErrorCode::kDataLoss);
  }
}

TEST(SafetensorsDamage, TrailingBytesAreFound) {
  auto bytes = to_safetensors(one_of_each());
  bytes.push_back(std::byte{0});
  EXPECT_TRUE(error_of([&] { from_safetensors(bytes, "long"); }).has_value());
}

TEST(SafetensorsDamage, AFlippedHeaderByteIsAnErrorOrHarmlessButNeverUndefined) {
  const auto whole = to_safetensors(one_of_each(), {{"step", "7"}});
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  Random random{1};
  int refused = 0;
  for (std::size_t at = 0; at < 8 + header; ++at) {
    for (int i = 0; i < 8; ++i) {
      auto bytes = whole;
      bytes[at] = static_cast<std::byte>(random.below(256));
      if (const auto error = error_of([&] { from_safetensors(bytes, "flipped"); })) {
        EXPECT_EQ(error->code(), ErrorCode::kDataLoss);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(SafetensorsDamage, AHeaderLengthBeyondTheFileIsFound) {
  std::vector<std::byte> bytes(64, std::byte{0xff});
  expect_error(ErrorCode::kDataLoss, {"header"}, [&] { from_safetensors(bytes, "x"); });
}

TEST(SafetensorsDamage, HeadersThatAreNoHeaders) {
  expect_damaged("JSON", "", 0);
  expect_damaged("JSON", "[]", 0);
  expect_damaged("JSON", "{\"a\":", 0);
  expect_damaged("JSON", std::string(100'000, '['), 0);
  expect_damaged("__metadata__", R"({"__metadata__":{"a":1}})", 0);
  expect_damaged("__metadata__", R"({"__metadata__":"a"})", 0);
}

TEST(SafetensorsDamage, OffsetsThatLie) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
  };
  EXPECT_NO_THROW(from_safetensors(file(two("[0,4]", "[4,8]"), 8), "good"));
  EXPECT_NO_THROW(from_safetensors(file(two("[4,8]", "[0,4]"), 8), "good"));
  expect_damaged("tensor b", two("[0,4]", "[2,6]"), 6);      // overlap
  expect_damaged("tensor b", two("[0,4]", "[0,4]"), 4);      // the same bytes twice
  expect_damaged("tensor b", two("[0,4]", "[5,9]"), 9);      // a hole
  expect_damaged("tensor a", two("[1,5]", "[5,9]"), 9);      // a hole in front
  expect_damaged("its data", two("[0,4]", "[4,8]"), 9);      // more than the tensors need
  expect_damaged("tensor b", two("[0,4]", "[4,8]"), 7);      // beyond the end
  expect_damaged("tensor a", two("[4,0]", "[4,8]"), 8);      // backwards
  expect_damaged("tensor a", two("[0,3]", "[3,7]"), 7);      // too few for its shape
  expect_damaged("tensor a", two("[-4,0]", "[0,4]"), 4);     // negative
  expect_damaged("tensor a", two("[0.0,4.0]", "[4,8]"), 8);  // no whole numbers
  expect_damaged("tensor a", two("[0,4,8]", "[4,8]"), 8);    // three
  expect_damaged("tensor a", two("[0,18446744073709551615]", "[4,8]"), 8);
}

TEST(SafetensorsDamage, ShapesAndDtypesThatLie) {
  const auto one = [](const char* dtype, const char* shape, const char* offsets = "[0,4]") {
    return std::string(R"({"a":{"dtype":)") + dtype + R"(,"shape":)" + shape +
           R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_NO_THROW(from_safetensors(file(one("\"F32\"", "[]"), 4), "good"));
  expect_damaged("F8_E4M3", one("\"F8_E4M3\"", "[4]"), 4);
  expect_damaged("dtype", one("7", "[4]"), 4);
  expect_damaged("shape", one("\"U8\"", "4"), 4);
  expect_damaged("shape", one("\"U8\"", "[-4]"), 4);
  expect_damaged("shape", one("\"U8\"", "[\"4\"]"), 4);
  // A product that is 4 modulo 2^64.
  expect_damaged("shape", one("\"U8\"", "[4611686018427387905,4]"), 4);
  expect_damaged("shape", one("\"F32\"", "[9223372036854775808]"), 4);
  expect_damaged("tensor a", R"({"a":{"dtype":"U8","shape":[4]}})", 4);
  expect_damaged("tensor a", R"({"a":[1]})", 4);
}

TEST(SafetensorsDamage, AKeyTwiceIsFound) {
  expect_damaged(
      "twice",
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
      4);
}

}  // namespace
}  // namespace musher

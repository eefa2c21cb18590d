#include <bit>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "common/npy_head.h"
#include "serving/payload/array.h"

namespace musher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kAlignment = 64;

constexpr std::string_view kFile = "the npy file";

[[noreturn]] void refuse(std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{} {}", kFile, why));
}

/// Numbers in the shape; more than `limit` is refused before it overflows.
std::size_t count_of(const std::vector<std::uint64_t>& shape, std::size_t limit) {
  std::size_t count = 1;
  for (const std::uint64_t length : shape) {
    if (length == 0) refuse("has a shape that is not of positive numbers");
    if (length > limit / count) refuse("is shorter than its shape says");
    count *= length;
  }
  return count;
}

template <typename T>
T load(const char* at, bool swapped) {
  char bytes[sizeof(T)];
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes[i] = at[swapped ? sizeof(T) - 1 - i : i];
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000U} << 16;
  const std::uint32_t exponent = (half >> 10) & 31U;
  const std::uint32_t fraction = half & 1023U;
  if (exponent == 0) {  // zero or subnormal
    const float value = static_cast<float>(fraction) * 0x1.0p-24f;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

/// `descr` such as "<f4": byte order, kind, bytes.
float number_at(const char* at, std::string_view descr) {
  const bool swapped = descr[0] == '>';
  if (descr.substr(1) == "f4") return load<float>(at, swapped);
  if (descr.substr(1) == "f8") return static_cast<float>(load<double>(at, swapped));
  if (descr.substr(1) == "f2") return half_to_float(load<std::uint16_t>(at, swapped));
  return static_cast<float>(static_cast<unsigned char>(*at));
}

}  // namespace

Array read_npy(std::string_view bytes) {
  const NpyHead head = read_npy_head(bytes, kFile);
  const std::string_view data = bytes.substr(head.data_offset);
  const std::string& descr = head.type;
  const bool order_known =
      descr.size() == 3 && std::string_view("<>|=").find(descr[0]) != std::string_view::npos;
  const std::string kind = order_known ? descr.substr(1) : "";
  const std::size_t width = kind == "f2" ? 2 : kind == "f4" ? 4 : kind == "f8" ? 8 : kind == "u1";
  if (width == 0) refuse("must hold float16, float32, float64 or uint8");
  if (head.column_major) refuse("must be in C order");
  const std::size_t count = count_of(head.shape, data.size() / width);
  if (data.size() != count * width) refuse("is not as long as its shape says");
  Array array;
  array.shape.assign(head.shape.begin(), head.shape.end());
  if (descr == "<f4") {  // what most send, as it lies in memory
    array.values.resize(count);
    std::memcpy(array.values.data(), data.data(), data.size());
    return array;
  }
  array.values.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    array.values.push_back(number_at(data.data() + i * width, descr));
  return array;
}

std::string write_npy(const Array& array) {
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{}), }}",
                  fmt::join(array.shape, ", "), array.shape.size() == 1 ? "," : "");
  const std::size_t before = kMagic.size() + 4;
  header.append(kAlignment - 1 - (before + header.size()) % kAlignment, ' ');
  header += '\n';
  std::string bytes(kMagic);
  bytes += std::string_view("\x01\x00", 2);
  bytes += static_cast<char>(header.size() & 255);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(array.values.data()),
               array.values.size() * sizeof(float));
  return bytes;
}

}  // namespace musher

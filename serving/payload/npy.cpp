#include <bit>
#include <charconv>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"
#include "serving/payload/array.h"

namespace musher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kAlignment = 64;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, "the npy file " + message);
}

/// What stands after `'key':` in the header, which is a Python dict as NumPy prints it.
std::string_view entry(std::string_view header, std::string_view key) {
  const std::string quoted = fmt::format("'{}':", key);
  const std::size_t at = header.find(quoted);
  if (at == header.npos) refuse(fmt::format("has no '{}' in its header", key));
  std::string_view rest = header.substr(at + quoted.size());
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  if (rest.empty()) refuse(fmt::format("has nothing as '{}'", key));
  return rest;
}

std::vector<std::int64_t> parse_shape(std::string_view text) {
  if (!text.starts_with('(')) refuse("has no tuple as its shape");
  text = text.substr(1, text.find(')') - 1);
  std::vector<std::int64_t> shape;
  while (!text.empty()) {
    if (text.front() == ' ' || text.front() == ',') {
      text.remove_prefix(1);
      continue;
    }
    std::int64_t length = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (error != std::errc() || length < 1) refuse("has a shape that is not of positive numbers");
    shape.push_back(length);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  }
  return shape;
}

/// Numbers in the shape; more than `limit` is refused before it overflows.
std::size_t count_of(const std::vector<std::int64_t>& shape, std::size_t limit) {
  std::size_t count = 1;
  for (const std::int64_t length : shape) {
    if (static_cast<std::size_t>(length) > limit / count) refuse("is shorter than its shape says");
    count *= static_cast<std::size_t>(length);
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
  if (!bytes.starts_with(kMagic) || bytes.size() < 12) refuse("does not begin as one");
  const int version = static_cast<unsigned char>(bytes[6]);
  if (version < 1 || version > 3) refuse(fmt::format("is of version {}, not 1 to 3", version));
  const std::size_t begin = version == 1 ? 10 : 12;
  const std::size_t length = version == 1 ? load<std::uint16_t>(bytes.data() + 8, false)
                                          : load<std::uint32_t>(bytes.data() + 8, false);
  if (length > bytes.size() - begin) refuse("ends within its header");
  const std::string_view header = bytes.substr(begin, length);
  const std::string_view data = bytes.substr(begin + length);

  const std::string_view descr = entry(header, "descr").substr(1, 3);
  const bool order_known =
      descr.size() == 3 && std::string_view("<>|=").find(descr[0]) != descr.npos;
  const std::string_view kind = order_known ? descr.substr(1) : "";
  const std::size_t width = kind == "f2" ? 2 : kind == "f4" ? 4 : kind == "f8" ? 8 : kind == "u1";
  if (width == 0) refuse("must hold float16, float32, float64 or uint8");
  if (!entry(header, "fortran_order").starts_with("False")) refuse("must be in C order");
  Array array;
  array.shape = parse_shape(entry(header, "shape"));
  const std::size_t count = count_of(array.shape, data.size() / width);
  if (data.size() != count * width) refuse("is not as long as its shape says");
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

#include "dataset/numbers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "common/error.h"
#include "common/npy_head.h"

namespace musher {
namespace {

static_assert(std::endian::native == std::endian::little);

/// Enough for the head of every array of plain numbers, which NumPy pads to a multiple of 64.
constexpr std::uint64_t kHeadBytes = 4096;

struct Named {
  std::string_view name;
  std::string_view npy;  ///< without the sign of the byte order
  NumberType type;
  std::size_t size;
};
constexpr std::array<Named, 7> kTypes = {{{"uint8", "u1", NumberType::kUInt8, 1},
                                          {"uint16", "u2", NumberType::kUInt16, 2},
                                          {"uint32", "u4", NumberType::kUInt32, 4},
                                          {"int32", "i4", NumberType::kInt32, 4},
                                          {"int64", "i8", NumberType::kInt64, 8},
                                          {"float32", "f4", NumberType::kFloat32, 4},
                                          {"float64", "f8", NumberType::kFloat64, 8}}};

template <typename T>
double load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

NumberType type_of(const NpyHead& head, const std::string& where) {
  for (const Named& known : kTypes) {
    for (const char order : {'<', '|'}) {
      if (head.type == fmt::format("{}{}", order, known.npy)) return known.type;
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{} has numbers of the type '{}': it must be one of uint8, uint16, "
                          "uint32, int32, int64, float32, float64, little-endian",
                          where, head.type));
}

/// Bytes that an array of the shape takes; nullopt: more than there can be.
std::optional<std::uint64_t> bytes_of(const std::vector<std::uint64_t>& shape, std::size_t each) {
  std::uint64_t bytes = each;
  for (const std::uint64_t length : shape) {
    if (__builtin_mul_overflow(bytes, length, &bytes)) return std::nullopt;
  }
  return bytes;
}

}  // namespace

std::size_t number_size(NumberType type) {
  for (const Named& known : kTypes) {
    if (known.type == type) return known.size;
  }
  throw Error(ErrorCode::kInternal, "text has no size of a number");
}

std::optional<NumberType> number_type_named(std::string_view name) {
  for (const Named& known : kTypes) {
    if (known.name == name) return known.type;
  }
  return std::nullopt;
}

double number_at(std::span<const std::byte> bytes, NumberType type, std::size_t index) {
  const std::byte* at = bytes.data() + index * number_size(type);
  switch (type) {
    case NumberType::kUInt8:
      return load<std::uint8_t>(at);
    case NumberType::kUInt16:
      return load<std::uint16_t>(at);
    case NumberType::kUInt32:
      return load<std::uint32_t>(at);
    case NumberType::kInt32:
      return load<std::int32_t>(at);
    case NumberType::kInt64:
      return load<std::int64_t>(at);
    case NumberType::kFloat32:
      return load<float>(at);
    case NumberType::kFloat64:
    case NumberType::kText:
      break;
  }
  return load<double>(at);
}

NpyHeader read_npy_header(ObjectStore& store, const ObjectInfo& object) {
  const std::string where = store.root().join(object.key).str();
  const auto bytes = store.read(object.key, 0, std::min(object.size, kHeadBytes));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const NpyHead head = read_npy_head(text, where);
  if (head.column_major) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} is written column by column (fortran_order); save "
                            "numpy.ascontiguousarray(…)",
                            where));
  }
  NpyHeader header{type_of(head, where), head.shape, head.data_offset};
  const auto expected = bytes_of(header.shape, number_size(header.type));
  if (!expected || header.data_offset + *expected != object.size) {
    throw Error(
        ErrorCode::kDataLoss,
        fmt::format("{} has {} bytes, which is not what its shape says", where, object.size));
  }
  return header;
}

}  // namespace musher

#include "dataset/numbers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "\x93NUMPY";
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

/// The head of one file.
class Head {
 public:
  Head(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {}", where_, why));
  }

  /// What stands behind `'key':` in the dict that the head is.
  std::string_view entry(std::string_view key) const {
    const std::string quoted = fmt::format("'{}':", key);
    const std::size_t at = text_.find(quoted);
    if (at == std::string_view::npos) refuse(fmt::format("has no '{}' in its head", key));
    std::string_view rest = text_.substr(at + quoted.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    return rest;
  }

  NumberType type() const {
    const std::string_view descr = entry("descr");
    for (const Named& known : kTypes) {
      for (const char order : {'<', '|'}) {
        if (descr.starts_with(fmt::format("'{}{}'", order, known.npy))) return known.type;
      }
    }
    refuse(
        fmt::format("has numbers of the type {}: it must be one of uint8, uint16, uint32, int32, "
                    "int64, float32, float64, little-endian",
                    descr.substr(0, std::min(descr.find(','), descr.size()))));
  }

  std::vector<std::uint64_t> shape() const {
    std::string_view text = entry("shape");
    if (!text.starts_with('(')) refuse("has no tuple as its shape");
    text = text.substr(1, text.find(')') - 1);
    std::vector<std::uint64_t> shape;
    while (!text.empty()) {
      if (text.front() == ' ' || text.front() == ',') {
        text.remove_prefix(1);
        continue;
      }
      std::uint64_t length = 0;
      const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), length);
      if (problem != std::errc()) refuse("has a shape that is not of whole numbers");
      shape.push_back(length);
      text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    }
    return shape;
  }

 private:
  std::string_view text_;
  std::string where_;
};

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
  const Head none({}, where);
  // Magic, version (2 bytes), length of what follows (2 bytes, from version 2 on 4).
  constexpr std::size_t kVersion = 6;
  constexpr std::size_t kLength = 8;
  if (text.size() < kLength + 4 || !text.starts_with(kMagic)) none.refuse("is no npy file");
  const std::size_t length_bytes = text[kVersion] == 1 ? 2 : 4;
  std::uint32_t length = 0;
  std::memcpy(&length, text.data() + kLength, length_bytes);
  const std::size_t begin = kLength + length_bytes;
  if (length > text.size() - begin) none.refuse("has a head that is too long for an npy file");
  const Head head(text.substr(begin, length), where);
  if (!head.entry("fortran_order").starts_with("False"))
    head.refuse("is written column by column (fortran_order); save numpy.ascontiguousarray(…)");
  NpyHeader header{head.type(), head.shape(), begin + length};
  const auto expected = bytes_of(header.shape, number_size(header.type));
  if (!expected || header.data_offset + *expected != object.size) {
    throw Error(
        ErrorCode::kDataLoss,
        fmt::format("{} has {} bytes, which is not what its shape says", where, object.size));
  }
  return header;
}

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "storage/object_store.h"

namespace musher {

/// How the numbers of a sample are written. Its value is the label of a table's rows and of token
/// windows in a manifest, so that whoever reads a sample knows.
enum class NumberType : std::int64_t {
  kText = 0,  ///< a line of decimal numbers with commas between
  kUInt8,     ///< little-endian, as all that follow
  kUInt16,
  kUInt32,
  kInt32,
  kInt64,
  kFloat32,
  kFloat64,
};
inline constexpr std::int64_t kNumberTypes = 8;

/// Bytes of one number. REQUIRES: it is not kText.
std::size_t number_size(NumberType type);

/// `uint16` and the like, as NumPy calls them; nullopt for other names.
std::optional<NumberType> number_type_named(std::string_view name);

/// Number `index` of such bytes, to the precision of a double. REQUIRES: it is not kText, and the
/// bytes reach so far.
double number_at(std::span<const std::byte> bytes, NumberType type, std::size_t index);

/// What the head of a `.npy` file says (NumPy's format, versions 1 to 3).
struct NpyHeader {
  NumberType type = NumberType::kFloat32;
  std::vector<std::uint64_t> shape;
  std::uint64_t data_offset = 0;  ///< of the first number
};

/// Reads the head of an object. kInvalidArgument naming the object for what is no npy, is written
/// column by column or has another type of number than those above; kDataLoss where the object is
/// shorter or longer than its shape says.
NpyHeader read_npy_header(ObjectStore& store, const ObjectInfo& object);

}  // namespace musher

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace musher {

/// An array of numbers, row-major.
struct Array {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// NumPy's format (versions 1 to 3): float16, float32, float64 or uint8 of either byte order, in C
/// order. kInvalidArgument saying what is wrong; a header that claims more than there is too.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
Array read_npy(std::string_view bytes);
/// float32, little-endian, version 1.
std::string write_npy(const Array& array);

/// What a JSON body asks for: numbers in lists in lists, be it bare or as the one entry of
/// `instances` (TensorFlow Serving's form); or `{"url": …}`.
struct UrlInstance {
  std::string url;
};
std::variant<Array, UrlInstance> read_json_instance(std::string_view text);

/// `array` as one sample of this shape, without a leading 1 that says so. kInvalidArgument with
/// both shapes.
Array one_sample(Array array, const std::vector<std::int64_t>& shape);

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// What stands before the numbers of a `.npy` file, in NumPy's format, versions 1 to 3.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
struct NpyHead {
  std::string type;                  ///< as NumPy writes it: byte order, kind, bytes, as in `<f4`
  bool column_major = false;         ///< `fortran_order`
  std::vector<std::uint64_t> shape;  ///< as the file claims: nothing says that it fits
  std::size_t data_offset = 0;       ///< of the first number
};

/// Reads it from the first bytes of a file, or all. kInvalidArgument beginning with `file` where it
/// is no npy file or they do not hold its head.
NpyHead read_npy_head(std::string_view bytes, std::string_view file);

}  // namespace musher

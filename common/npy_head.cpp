#include "common/npy_head.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kVersion = 6;  // where it stands; the length of the dict is two bytes on
constexpr std::size_t kLength = 8;

/// The dict that the head is, as Python prints it.
class Dict {
 public:
  Dict(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{} {}", file_, why));
  }

  /// What stands behind `'key':`, to the end of the dict.
  std::string_view entry(std::string_view key) const {
    const std::string quoted = fmt::format("'{}':", key);
    const std::size_t at = text_.find(quoted);
    if (at == text_.npos) refuse(fmt::format("has no '{}' in its head", key));
    const std::string_view rest = text_.substr(at + quoted.size());
    return rest.substr(std::min(rest.find_first_not_of(' '), rest.size()));
  }

  /// What is in quotes; of a structured type, whose entry is a list, its beginning.
  std::string type() const {
    const std::string_view given = entry("descr");
    if (!given.starts_with('\'')) return std::string(given.substr(0, given.find(',')));
    return std::string(given.substr(1, given.find('\'', 1) - 1));
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
  std::string_view file_;
};

}  // namespace

NpyHead read_npy_head(std::string_view bytes, std::string_view file) {
  const Dict none({}, file);
  if (bytes.size() < kLength + 4 || !bytes.starts_with(kMagic)) none.refuse("is no npy file");
  const int version = static_cast<unsigned char>(bytes[kVersion]);
  if (version < 1 || version > 3)
    none.refuse(fmt::format("is an npy file of version {}, not 1 to 3", version));
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  std::uint32_t length = 0;
  std::memcpy(&length, bytes.data() + kLength, length_bytes);
  const std::size_t begin = kLength + length_bytes;
  if (length > bytes.size() - begin)
    none.refuse(fmt::format("has a head of {} bytes, more than it may or can have", length));
  const Dict head(bytes.substr(begin, length), file);
  return {.type = head.type(),
          .column_major = !head.entry("fortran_order").starts_with("False"),
          .shape = head.shape(),
          .data_offset = begin + length};
}

}  // namespace musher

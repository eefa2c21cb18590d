#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace musher {
namespace {

using nlohmann::json;

constexpr std::uint64_t kPrefix = 8;                     // bytes that hold the header's length
constexpr std::uint64_t kMaxHeader = 100 * 1000 * 1000;  // as the reference implementation has it
constexpr std::size_t kMaxDimensions = 64;               // LibTorch's own limit

struct Dtype {
  std::string_view name;
  at::ScalarType type;
};
constexpr std::array kDtypes = {
    Dtype{"F64", at::kDouble},    Dtype{"F32", at::kFloat}, Dtype{"F16", at::kHalf},
    Dtype{"BF16", at::kBFloat16}, Dtype{"I64", at::kLong},  Dtype{"I32", at::kInt},
    Dtype{"U8", at::kByte},       Dtype{"BOOL", at::kBool},
};

std::string_view name_of(at::ScalarType type, const std::string& tensor) {
  for (const auto& dtype : kDtypes) {
    if (dtype.type == type) return dtype.name;
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("tensor {} is of dtype {}, which Musher does not write as safetensors",
                          tensor, c10::toString(type)));
}

/// Widest elements first, so that each tensor's data is aligned; otherwise in the caller's order.
NamedTensors in_file_order(const NamedTensors& tensors) {
  NamedTensors sorted = tensors;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  return sorted;
}

struct Header {
  std::string text;  ///< padded to 8
  std::uint64_t data_bytes = 0;
};

Header header_of(const NamedTensors& sorted, const std::map<std::string, std::string>& metadata) {
  json entries = json::object();
  if (!metadata.empty()) entries["__metadata__"] = metadata;
  Header header;
  for (const auto& [name, tensor] : sorted) {
    if (entries.contains(name) || name == "__metadata__") {
      throw Error(ErrorCode::kInvalidArgument, fmt::format("two tensors are called {}", name));
    }
    const auto end = header.data_bytes + tensor.nbytes();
    entries[name] = {
        {"dtype", name_of(tensor.scalar_type(), name)},
        {"shape", std::vector<std::int64_t>(tensor.sizes().begin(), tensor.sizes().end())},
        {"data_offsets", {header.data_bytes, end}}};
    header.data_bytes = end;
  }
  header.text = entries.dump();
  header.text.append((8 - header.text.size() % 8) % 8, ' ');
  return header;
}

/// What a header says of one tensor.
struct Entry {
  std::string name;
  at::ScalarType type;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Reads one file; every refusal goes through `damaged`.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Safetensors read() {
    const json header = parse_header();
    Safetensors result;
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        result.metadata = metadata(value);
      } else {
        entries.push_back(entry(name, value));
      }
    }
    require_no_gaps(entries);
    for (const auto& entry : entries) result.tensors.emplace(entry.name, tensor(entry));
    return result;
  }

 private:
  [[noreturn]] void damaged(const std::string& why) const {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} is not a whole safetensors file: {}", name_, why));
  }

  json parse_header() {
    if (bytes_.size() < kPrefix) damaged(fmt::format("it has just {} bytes", bytes_.size()));
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < kPrefix; ++i)
      length |= std::to_integer<std::uint64_t>(bytes_[i]) << (8 * i);
    if (length > kMaxHeader || length > bytes_.size() - kPrefix) {
      damaged(
          fmt::format("its header should have {} bytes, the file has {}", length, bytes_.size()));
    }
    data_ = bytes_.subspan(kPrefix + length);
    const auto* text = reinterpret_cast<const char*>(bytes_.data() + kPrefix);
    std::vector<std::set<std::string>> keys;
    bool twice = false;
    const auto watch = [&](int, json::parse_event_t event, json& parsed) {
      if (event == json::parse_event_t::object_start) keys.emplace_back();
      if (event == json::parse_event_t::object_end) keys.pop_back();
      if (event == json::parse_event_t::key) {
        twice = !keys.back().insert(parsed.get_ref<const std::string&>()).second || twice;
      }
      return true;
    };
    // Deep nesting costs the parser no stack; the header's own size bounds it.
    json header = json::parse(text, text + length, watch, false);
    if (!header.is_object()) damaged("its header is no JSON object");
    if (twice) damaged("its header has a key twice");
    return header;
  }

  std::map<std::string, std::string> metadata(const json& value) const {
    if (!value.is_object()) damaged("__metadata__ is no object");
    std::map<std::string, std::string> result;
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) damaged("__metadata__ holds something other than strings");
      result.emplace(key, text.get<std::string>());
    }
    return result;
  }

  Entry entry(const std::string& name, const json& value) const {
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
        !value.contains("shape") || !value.contains("data_offsets")) {
      damaged(fmt::format("tensor {} needs dtype, shape and data_offsets and nothing else", name));
    }
    Entry entry{.name = name, .type = dtype(name, value["dtype"]), .shape = {}};
    const auto bytes = shape(entry, value["shape"]);
    const auto& offsets = value["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      damaged(fmt::format("data_offsets of tensor {} are no two whole numbers", name));
    }
    entry.begin = offsets[0].get<std::uint64_t>();
    entry.end = offsets[1].get<std::uint64_t>();
    if (entry.begin > entry.end || entry.end > data_.size()) {
      damaged(fmt::format("tensor {} lies at bytes {} to {} of {}", name, entry.begin, entry.end,
                          data_.size()));
    }
    if (entry.end - entry.begin != bytes) {
      damaged(
          fmt::format("tensor {} needs {} bytes and has {}", name, bytes, entry.end - entry.begin));
    }
    return entry;
  }

  at::ScalarType dtype(const std::string& name, const json& value) const {
    if (value.is_string()) {
      for (const auto& dtype : kDtypes) {
        if (dtype.name == value.get_ref<const std::string&>()) return dtype.type;
      }
    }
    damaged(
        fmt::format("tensor {} is of dtype {}, which Musher does not know", name, value.dump()));
  }

  /// Fills entry.shape; the bytes that the tensor needs.
  std::uint64_t shape(Entry& entry, const json& value) const {
    if (!value.is_array() || value.size() > kMaxDimensions) {
      damaged(fmt::format("the shape of tensor {} is no list of at most {}", entry.name,
                          kMaxDimensions));
    }
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    std::uint64_t bytes = c10::elementSize(entry.type);
    for (const auto& size : value) {
      std::uint64_t product = 0;
      if (!size.is_number_unsigned() || size.get<std::uint64_t>() > kMost ||
          __builtin_mul_overflow(bytes, size.get<std::uint64_t>(), &product) || product > kMost) {
        damaged(fmt::format("the shape of tensor {} is out of range", entry.name));
      }
      bytes = product;
      entry.shape.push_back(size.get<std::int64_t>());
    }
    return bytes;
  }

  /// As the format has it: the data is covered without holes and without overlap.
  void require_no_gaps(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
    });
    std::uint64_t at = 0;
    for (const auto& entry : entries) {
      if (entry.begin != at) {
        damaged(fmt::format("tensor {} begins at byte {} where {} would be right", entry.name,
                            entry.begin, at));
      }
      at = entry.end;
    }
    if (at != data_.size())
      damaged(fmt::format("its tensors have {} bytes, its data {}", at, data_.size()));
  }

  at::Tensor tensor(const Entry& entry) const {
    auto tensor = at::empty(entry.shape, entry.type);
    const auto size = entry.end - entry.begin;
    if (size > 0) std::memcpy(tensor.data_ptr(), data_.data() + entry.begin, size);
    return tensor;
  }

  std::span<const std::byte> bytes_;
  std::span<const std::byte> data_;
  const std::string& name_;
};

}  // namespace

std::uint64_t safetensors_size(const NamedTensors& tensors,
                               const std::map<std::string, std::string>& metadata) {
  const auto header = header_of(in_file_order(tensors), metadata);
  return kPrefix + header.text.size() + header.data_bytes;
}

void write_safetensors(const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata, const ByteSink& sink) {
  const auto sorted = in_file_order(tensors);
  const auto header = header_of(sorted, metadata);
  std::array<std::byte, kPrefix> length;
  for (std::size_t i = 0; i < kPrefix; ++i) {
    length[i] = static_cast<std::byte>(static_cast<std::uint64_t>(header.text.size()) >> (8 * i));
  }
  sink(length);
  sink(std::as_bytes(std::span(header.text)));
  for (const auto& [name, tensor] : sorted) {
    const auto host = tensor.detach().to(at::kCPU).contiguous();
    if (host.nbytes() > 0)
      sink({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
  }
}

std::vector<std::byte> to_safetensors(const NamedTensors& tensors,
                                      const std::map<std::string, std::string>& metadata) {
  std::vector<std::byte> bytes;
  bytes.reserve(safetensors_size(tensors, metadata));
  write_safetensors(tensors, metadata, [&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

Safetensors from_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  return Reader(bytes, name).read();
}

}  // namespace musher

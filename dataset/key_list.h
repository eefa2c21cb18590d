#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// Keys in the order in which they were added, one after the other in one piece of memory: 8 bytes
/// each beside their characters. A value.
class KeyList {
 public:
  KeyList() = default;
  KeyList(std::initializer_list<std::string_view> keys) {
    for (const std::string_view key : keys) push_back(key);
  }

  void push_back(std::string_view key);
  /// From now on without the first `count` characters of each. REQUIRES: each has as many.
  void strip(std::size_t count) { skip_ += count; }
  std::size_t size() const { return ends_.size(); }
  /// REQUIRES: i < size().
  std::string_view operator[](std::size_t i) const {
    const std::uint64_t begin = (i == 0 ? 0 : ends_[i - 1]) + skip_;
    return std::string_view(chars_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string chars_;
  std::vector<std::uint64_t> ends_;
  std::size_t skip_ = 0;
};

/// The indexes of the keys, sorted by key.
std::vector<std::uint32_t> sorted_order(const KeyList& keys);

/// kInvalidArgument, naming `uri`, for a key that is there twice.
void check_unique(const KeyList& keys, const std::string& uri);

}  // namespace musher

#include "dataset/key_list.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "common/error.h"

namespace musher {

void KeyList::push_back(std::string_view key) {
  chars_ += key;
  ends_.push_back(chars_.size());
}

std::vector<std::uint32_t> sorted_order(const KeyList& keys) {
  std::vector<std::uint32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return keys[i]; });
  return order;
}

void check_unique(const KeyList& keys, const std::string& uri) {
  const auto order = sorted_order(keys);
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (keys[order[i]] != keys[order[i - 1]]) continue;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} is in it twice; name each object once", uri, keys[order[i]]));
  }
}

}  // namespace musher

#include "dataset/sorted_names.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "common/random.h"

namespace musher {
namespace {

using Entries = std::vector<std::pair<std::string, std::uint64_t>>;

Entries read(SortedNames names) {
  Entries entries;
  SortedNames::Reader reader(std::move(names));
  while (reader.next()) entries.emplace_back(reader.name(), reader.number());
  return entries;
}

TEST(SortedNames, ComeBackSortedWhateverTheOrder) {
  // More than one run, and the last of them not full.
  constexpr int kNames = 700'000;
  Random random{1};
  SortedNames names;
  Entries expected;
  for (int i = 0; i < kNames; ++i) {
    const std::uint64_t number = random.below(~std::uint64_t{0});
    std::string name = fmt::format("class{}/{:x}.jpg", number % 97, number % (1 << 19));
    if (i == 17) name.clear();
    if (i == 18) name = std::string("\0\xff", 2);
    names.add(name, number);
    expected.emplace_back(std::move(name), number);
  }
  EXPECT_EQ(names.size(), expected.size());
  Entries found = read(std::move(names));
  EXPECT_TRUE(std::ranges::is_sorted(found, {}, &Entries::value_type::first));
  std::ranges::sort(found);
  std::ranges::sort(expected);
  EXPECT_TRUE(found == expected);
}

TEST(SortedNames, ANameThatWasAddedTwiceComesTwice) {
  SortedNames names;
  for (const std::uint64_t number : {1, 2, 3}) names.add("a", number);
  EXPECT_EQ(read(std::move(names)).size(), 3U);
}

TEST(SortedNames, NoNames) {
  SortedNames names;
  EXPECT_TRUE(names.empty());
  EXPECT_TRUE(read(std::move(names)).empty());
}

}  // namespace
}  // namespace musher

#include "fuzz/mutator.h"

#include <algorithm>
#include <array>

namespace musher::test {
namespace {

constexpr std::size_t kLongest = 1 << 20;

// Where lengths and sizes overflow, wrap or become negative.
constexpr std::array<std::string_view, 14> kNumbers = {"0",          "-1",
                                                       "1",          "127",
                                                       "256",        "65535",
                                                       "65536",      "2147483647",
                                                       "2147483648", "4294967296",
                                                       "0x10",       "9223372036854775808",
                                                       "1e308",      "18446744073709551616"};

std::string block(std::string_view text, Random& random) {
  const std::size_t begin = below(random, text.size());
  return std::string(text.substr(begin, 1 + below(random, std::min<std::size_t>(text.size(), 64))));
}

}  // namespace

std::size_t below(Random& random, std::size_t limit) {
  return limit == 0 ? 0 : static_cast<std::size_t>(random.below(limit));
}

void Mutator::change(std::string& text, std::string_view other, Random& random) const {
  const std::size_t at = below(random, text.size() + 1);
  const std::size_t left = text.size() - at;
  switch (below(random, 9)) {
    case 0:  // a bit
      if (left > 0) text[at] = static_cast<char>(text[at] ^ (1 << below(random, 8)));
      return;
    case 1:  // a byte
      if (left > 0) text[at] = static_cast<char>(below(random, 256));
      return;
    case 2:  // some are gone
      text.erase(at, 1 + below(random, 32));
      return;
    case 3:  // the end is gone
      text.resize(at);
      return;
    case 4:  // a piece comes again
      text.insert(at, block(text, random));
      return;
    case 5:  // a piece of the other
      text.insert(at, block(other, random));
      return;
    case 6:
      text.insert(at, words_[below(random, words_.size())]);
      return;
    case 7: {  // another number
      const auto digit = std::find_if(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(),
                                      [](char c) { return c >= '0' && c <= '9'; });
      const auto end = std::find_if(digit, text.end(), [](char c) { return c < '0' || c > '9'; });
      text.replace(digit, end, kNumbers[below(random, kNumbers.size())]);
      return;
    }
    default:  // many of one byte
      text.insert(at, 1 + below(random, below(random, 8) == 0 ? 40'000 : 40),
                  static_cast<char>(below(random, 256)));
  }
}

std::string Mutator::mutate(std::string text, std::string_view other, Random& random) const {
  const std::size_t changes = 1 + below(random, 8);
  for (std::size_t i = 0; i < changes; ++i) change(text, other, random);
  if (text.size() > kLongest) text.resize(kLongest);
  return text;
}

}  // namespace musher::test

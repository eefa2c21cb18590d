#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/random.h"

namespace musher::test {

/// Changes a text as a coverage-less fuzzer does: bits, bytes, blocks and numbers, words of a
/// dictionary, a piece of another text. The same random numbers make the same changes.
class Mutator {
 public:
  /// `words`: what the format under test gives a meaning to.
  explicit Mutator(std::vector<std::string> words) : words_(std::move(words)) {}

  /// One to eight changes of `text`; `other` is what pieces are taken from. At most 1 MiB.
  std::string mutate(std::string text, std::string_view other, Random& random) const;

 private:
  void change(std::string& text, std::string_view other, Random& random) const;

  std::vector<std::string> words_;
};

/// 0 to below `limit`; 0 where that is 0.
std::size_t below(Random& random, std::size_t limit);

}  // namespace musher::test

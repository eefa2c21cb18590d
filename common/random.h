#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace musher {

/// Mixes 64 bits so that each input bit reaches each output bit: the finaliser of SplitMix64
/// (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// A random stream that is a pure function of its key, e.g. (seed, epoch, sample): no state is
/// shared, so a choice does not depend on which thread, rank or attempt makes it. The sequence is
/// the same on every platform. Not for secrets.
class Random {
 public:
  Random(std::initializer_list<std::uint64_t> key) {
    for (std::uint64_t part : key) state_ = mix64(state_ ^ part);
  }

  std::uint64_t next() { return mix64(state_++); }

  /// Uniform in [0, bound), without bias (Lemire 2019). REQUIRES: bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    __extension__ using Wide = unsigned __int128;
    Wide product = static_cast<Wide>(next()) * bound;
    if (static_cast<std::uint64_t>(product) < bound) {
      const std::uint64_t threshold = -bound % bound;
      while (static_cast<std::uint64_t>(product) < threshold)
        product = static_cast<Wide>(next()) * bound;
    }
    return static_cast<std::uint64_t>(product >> 64);
  }

  /// Uniform in [0, 1), with 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Fisher-Yates.
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace musher

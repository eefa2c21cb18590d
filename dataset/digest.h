#pragma once

#include <array>
#include <cstdint>

#include "common/random.h"
#include "dataset/manifest.h"

namespace musher {

/// The digest of a set of samples in an epoch: the sum modulo 2^64 of a hash of each sample's key
/// and the epoch. Equal sums mean, but for a chance of 2^-64, the same multiset: nothing lost,
/// nothing repeated.
struct Digest {
  std::uint64_t samples = 0;
  std::uint64_t sum = 0;

  void add(std::uint64_t key_hash, std::uint64_t epoch) {
    ++samples;
    sum += mix64(key_hash ^ mix64(epoch));
  }
  Digest& operator+=(const Digest& other) {
    samples += other.samples;
    sum += other.sum;
    return *this;
  }
  Digest& operator-=(const Digest& other) {
    samples -= other.samples;
    sum -= other.sum;
    return *this;
  }
  bool operator==(const Digest&) const = default;
};

/// What an epoch over the whole manifest must come to.
Digest epoch_digest(const Manifest& manifest, std::uint64_t epoch);

/// A 64-bit sum as 8 numbers below 256, so that float32 adds them exactly over up to 65,536 ranks;
/// and back. join throws kDataLoss for a piece that no such addition can give (negative, a
/// fraction, 2^24 or more, NaN).
std::array<float, 8> split_digest(std::uint64_t sum);
std::uint64_t join_digest(const std::array<float, 8>& pieces);

}  // namespace musher

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace musher {

/// XXH3, 64 bits: the same value on every platform. Finds accidents, not attackers.
std::uint64_t hash64(std::string_view bytes, std::uint64_t seed = 0);
std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0);

/// hash64() of bytes that come piece by piece. One thread at a time.
class RunningHash {
 public:
  RunningHash();
  ~RunningHash();
  RunningHash(const RunningHash&) = delete;
  RunningHash& operator=(const RunningHash&) = delete;

  void add(std::span<const std::byte> bytes);
  std::uint64_t size() const { return size_; }  ///< bytes so far
  std::uint64_t value() const;                  ///< of them

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::uint64_t size_ = 0;
};

/// 16 lower-case hexadecimal digits, as checkpoints and manifests write a checksum.
std::string hex64(std::uint64_t value);

}  // namespace musher

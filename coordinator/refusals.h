#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace musher {

/// Why a call was refused at the door.
enum class Refusal {
  kNoCertificate,
  kUntrustedCertificate,  ///< another authority's
  kExpiredCertificate,    ///< or not good yet
  kWrongRole,             ///< a worker that asks what a client may, or the other way round
  kWrongToken,            ///< no process of the attempt that it says it is of
};
constexpr std::size_t kRefusals = 5;

/// For people, e.g. "without a certificate".
std::string_view to_string(Refusal refusal);

/// How many there were since the coordinator started. Thread-safe.
class Refusals {
 public:
  void count(Refusal refusal) { ++counts_[static_cast<std::size_t>(refusal)]; }
  std::uint64_t of(Refusal refusal) const { return counts_[static_cast<std::size_t>(refusal)]; }

 private:
  std::array<std::atomic<std::uint64_t>, kRefusals> counts_{};
};

}  // namespace musher

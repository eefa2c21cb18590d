#include "coordinator/random_token.h"

#include <array>
#include <cstdint>

#include <sys/random.h>

#include "common/checksum.h"
#include "common/error.h"

namespace musher {

std::string random_token() {
  std::array<std::uint64_t, 2> bits{};
  if (::getrandom(bits.data(), sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
    throw Error(ErrorCode::kInternal, "the kernel gives no random bytes");
  }
  return hex64(bits[0]) + hex64(bits[1]);
}

}  // namespace musher

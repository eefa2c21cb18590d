#pragma once

#include <string>

namespace musher {

/// 128 bits from the kernel, as 32 hexadecimal digits. kInternal where it gives none.
std::string random_token();

}  // namespace musher

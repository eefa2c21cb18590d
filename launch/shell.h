#pragma once

#include <string>

namespace musher {

/// The word in single quotes, as sh reads it, whatever is in it.
std::string quoted_for_shell(const std::string& word);

}  // namespace musher

#pragma once

#include <exception>
#include <string>

namespace musher {

/// What LibTorch says of a TorchScript file or program, in one line: its errors hold a C++ and a
/// Python stack, and the reason is the last line that says anything.
std::string script_error(const std::exception& exception);

}  // namespace musher

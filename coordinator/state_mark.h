#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace musher {

/// What a state folder's things are known by elsewhere, in Slurm or AWS: the same for every
/// coordinator of this state, on whichever machine. Random hexadecimal digits, at most 32, which
/// the first call writes to `file`, for the owner alone. kUnavailable where it can't be written.
std::string state_mark(const std::filesystem::path& file, std::size_t digits);

}  // namespace musher

#pragma once

#include <filesystem>
#include <string>

namespace musher {

/// The linker's hash of a 64-bit ELF program's contents, in hex: note NT_GNU_BUILD_ID, as ld's
/// `--build-id` documents. Reads a few hundred bytes, however large the program. Empty for any
/// other file, and where there is no such note.
std::string build_id(const std::filesystem::path& program);

}  // namespace musher

#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace musher {

/// Calls work(0) … work(count - 1) on up to `threads` threads of that name, in that order of
/// beginning, and waits for them. Throws what the lowest number threw: all below it were begun
/// before it and have ended, so that the same input gives the same error. After an error no further
/// one is begun.
void in_parallel(const std::string& name, std::size_t threads, std::size_t count,
                 const std::function<void(std::size_t)>& work);

}  // namespace musher

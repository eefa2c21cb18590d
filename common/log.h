#pragma once

#include <cstdio>
#include <memory>

#include <spdlog/logger.h>

namespace musher {

/// Made once in `main` and passed down; `logger->info("{} samples", n)`. Thread-safe.
using Logger = std::shared_ptr<spdlog::logger>;

/// Writes `2026-11-23T12:34:56.789Z info message` (UTC) to `out`, one write a line, flushed.
/// Levels: debug, info, warning, error. `out` must outlive the logger.
Logger make_logger(spdlog::level::level_enum level = spdlog::level::info, std::FILE* out = stderr);

/// Says nothing.
Logger make_silent_logger();

}  // namespace musher

#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "coordinator/cli/connection.h"

namespace musher::cli {

/// Shows a job's progress on `out` until it is over; its last state. While the coordinator can't be
/// reached, as in a restart, it tries again for half a minute.
v1::JobProgress follow(Connection& connection, const std::string& name, std::FILE* out);

/// What a command that waited for a job ends with: with `json` the description alone on stdout,
/// otherwise a summary on stderr and the artifact's URI on stdout where `artifact` is set. Returns
/// the exit code.
int conclude(const v1::JobProgress& last, bool json, bool artifact);

}  // namespace musher::cli

#pragma once

#include <filesystem>
#include <string>

#include "coordinator/coordinator.h"

namespace musher::cli {

/// What `musher serve --fleet` rents with: the file has options of `musher fleet up` and some of
/// its own, a line each, `name = value`. The key to the instances is made where there is none, in
/// the folder `fleets` of the coordinator's state. Throws kInvalidArgument naming file and option.
RentSettings read_fleet_file(const std::string& path, const std::filesystem::path& state);

}  // namespace musher::cli

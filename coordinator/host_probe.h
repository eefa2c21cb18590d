#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "common/deadline.h"

/// What a host has and sees, for `musher hosts check` and before an attempt. Runs on that host.
namespace musher {

/// The `probe` of host_agent.h: `version`, `build`, `libraries`, `time_ms`, `memory_bytes` and
/// `disk_bytes` (both free), `gpus`, `driver` (NVIDIA's, empty without), `efa` (devices),
/// `efa_plugin`. `programs`: those that make the build; `prefix`: of the pinned
/// environment; `disk`: a folder.
nlohmann::json probe_host(const nlohmann::json& request);

/// Listens on `port` and connects to the same port of each of `peers`, again and again until the
/// deadline or until all are reached and all have come here too. Returns why those could not be
/// reached that could not, by name. Throws kUnavailable where the port is taken.
std::map<std::string, std::string> meet_peers(const std::vector<std::string>& peers, int port,
                                              Deadline deadline);

/// Empty where a TCP connection to HOST:PORT is made by the deadline; else why not. `patient`: one
/// that is refused is tried again until then.
std::string why_unreachable(const std::string& host, int port, Deadline deadline,
                            bool patient = false);

/// Tells builds of these programs apart: by their build IDs, which their linker made; of one that
/// has none, such as a script, by its content. One that can't be read counts as empty.
std::string build_of(const std::vector<std::string>& programs);

}  // namespace musher

#pragma once

#include <string>

#include "fleet/plan.h"

namespace musher {

/// What cloud-init does on each host: the end of its time first, then Musher and its pinned
/// libraries. Nothing in it is secret. It tells how it went on the console, which
/// GetConsoleOutput shows: see parse_console(). `#cloud-config` and JSON, which is YAML too.
std::string user_data(const FleetSettings& settings, const FleetSurroundings& around,
                      FleetTime until);

/// The script in it. Takes the console's file as its argument.
std::string host_script(const FleetSettings& settings, const FleetSurroundings& around);

/// What a host has told so far.
struct HostConsole {
  std::string key;  ///< its public key for ssh, "ssh-ed25519 AAAA…", once it is ready
  bool ready = false;
  std::string failure;  ///< the set-up failed: where
};

HostConsole parse_console(const std::string& text);

}  // namespace musher

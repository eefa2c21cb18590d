#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "launch/network.h"

/// What the coordinator has done on the hosts of a job: on another machine by `musher hosts agent`,
/// which ssh starts there with a request in JSON on its stdin, and which answers on its stdout.
///
/// | `do` | further fields | does |
/// |---|---|---|
/// | `stage` | `folder`, `files`: name → text | makes the folder and the files in it, for the owner
/// alone | | `end` | `folder` | kills every process that has the folder's token file as an
/// argument, then removes the folder | | `kill` | `folder`, `pid` | kills that process if it has
/// the folder's token file as an argument; `killed` says whether |
///
/// | `probe` | see host_probe.h; `reach`: list of [host, port]; `meet`: `peers`, `port`,
/// `milliseconds` | looks at the host, and whether it reaches those, and its peers, which do the
/// same at the same time |
///
/// `stage` may have what `probe` has, too. What could not be reached is in `unreached`, with
/// reasons, and peers in `unmet`, reasons by their names. The answer has `host`, `cores`,
/// `interfaces` (`name`, `address`, `prefix`), and, of ssh, `reached_at` and `reached_from`, the
/// addresses of this end and of the other.
namespace musher {

/// Throws kInvalidArgument for a request that it does not know, kUnavailable where a file can't be
/// written. `ssh_connection`: as sshd sets SSH_CONNECTION; empty: not by ssh.
nlohmann::json serve_host_request(const nlohmann::json& request, const std::string& ssh_connection);

/// Those of this machine that are up, but for loopback.
std::vector<NetworkInterface> own_interfaces();

/// A folder for its owner alone; it may be there already, as on hosts that share a file system.
/// kUnavailable where it is somebody else's, or no folder.
void make_private_folder(const std::filesystem::path& path);

/// The whole file at once, for the owner alone. kUnavailable where it can't be written.
void write_private_file(const std::filesystem::path& path, const std::string& text);

/// `files`, name → text, in a folder for the owner alone. Throws kInvalidArgument for what is no
/// file's name.
void write_private_files(const std::filesystem::path& folder, const nlohmann::json& files);

}  // namespace musher

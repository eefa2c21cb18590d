#pragma once

#include <string>
#include <string_view>

namespace musher {

/// One instance of an endpoint on this host, which the coordinator starts with `musher hosts
/// instance` over ssh and accompanies for as long as that lasts. Orders come on stdin, a JSON
/// object a line. The first:
///
/// | field | |
/// |---|---|
/// | `folder` | made here for the instance's files, and removed after it |
/// | `files` | name → text: in the folder, for the owner alone: `token`, `certificate.pem`,
/// `key.pem` |
/// | `keys` | name → list of bytes: of access keys, in a folder in it |
/// | `argv` | the command; where it listens, `--tls`, `--token` and `--keys` are added |
/// | `share` | the instance has one in so many of the host's cores; 0: `argv` says |
/// | `environment` | added to the host's own |
///
/// Later ones: `files`, `keys` replace files; `do`: `stop` is SIGTERM. Where stdin ends, since the
/// connection did, the instance is killed: nothing stays that nobody knows of. Its output is this
/// program's, whose last line begins with kInstanceOver when nothing of it is left. What goes wrong
/// is a line before that.
///
/// `ssh_connection`: as sshd sets SSH_CONNECTION; the instance listens on the address by which this
/// host was reached. Returns the exit code.
int accompany_instance(const std::string& ssh_connection);

inline constexpr std::string_view kInstanceOver = "musher: the instance is over, ";

}  // namespace musher

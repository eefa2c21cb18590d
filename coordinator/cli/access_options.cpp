#include "coordinator/cli/access_options.h"

#include <cstdlib>

#include <fmt/format.h>

namespace musher::cli {

namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Where this machine's credentials are in its environment, other hosts get them in a file.
std::string store_credentials() {
  const std::string key = variable("AWS_ACCESS_KEY_ID");
  const std::string secret = variable("AWS_SECRET_ACCESS_KEY");
  const std::string session = variable("AWS_SESSION_TOKEN");
  if (key.empty() || secret.empty()) return "";
  const std::string both =
      fmt::format("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", key, secret);
  return both + (session.empty() ? "" : fmt::format("aws_session_token = {}\n", session));
}

}  // namespace

void AccessOptions::add_to(Options& options) {
  options.add("ssh-user", &access_.ssh.user, "NAME", "the user on the hosts (ssh's own choice)");
  options.add("ssh-key", &access_.ssh.key, "FILE", "private key for the hosts (ssh's own choice)");
  options.add("ssh-known-hosts", &access_.ssh.known_hosts, "FILE",
              "the hosts' public keys, which must be known (~/.ssh/known_hosts)");
  options.add("ssh-config", &access_.ssh.config, "FILE", "instead of ~/.ssh/config");
  options.add("network", &access_.network, "CIDR",
              "the network over which ranks talk, e.g. 10.0.0.0/24 (the one by which the "
              "coordinator reaches each host)");
}

HostAccess AccessOptions::checked(const fs::path& mpirun) {
  if (!access_.network.empty() && !parse_network(access_.network)) {
    throw Error(ErrorCode::kInvalidArgument,
                "--network " + access_.network + " is no network such as 10.0.0.0/24");
  }
  ssh_agent(access_.ssh);  // what mpirun can't take is known before a job starts
  access_.musher = fs::read_symlink("/proc/self/exe");
  access_.prefix = mpirun.parent_path().parent_path();
  access_.store_credentials = store_credentials();
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED",
                           "AWS_EC2_METADATA_SERVICE_ENDPOINT"}) {
    if (!variable(name).empty()) access_.environment[name] = variable(name);
  }
  return access_;
}

}  // namespace musher::cli

#pragma once

#include <string>
#include <vector>

namespace musher {

/// How other hosts are reached. What is empty is left to ssh and its own configuration.
struct SshOptions {
  std::string program = "/usr/bin/ssh";
  std::string user;
  std::string key;          ///< file of the private key
  std::string known_hosts;  ///< file of the hosts' public keys
  std::string config;       ///< instead of ~/.ssh/config, e.g. for ports
};

/// ssh and its options, up to the host: it never asks, takes no host whose key is not known or has
/// changed, and gives up on a host that does not answer within seconds.
std::vector<std::string> ssh_words(const SshOptions& options);

/// The same in one string, as mpirun takes it. Throws kInvalidArgument where a word has a blank or
/// a colon, at which mpirun would take it apart.
std::string ssh_agent(const SshOptions& options);

}  // namespace musher

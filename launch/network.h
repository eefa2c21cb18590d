#pragma once

#include <optional>
#include <string>
#include <vector>

/// Which network interfaces the ranks of a job talk over. A host has others that lead nowhere, such
/// as docker0, and MPI and NCCL would try them. Pure.
namespace musher {

struct NetworkInterface {
  std::string name;
  std::string address;  ///< IPv4, as in 10.0.0.1
  int prefix = 32;      ///< bits of the network, as in /24
  bool operator==(const NetworkInterface&) const = default;
};

struct HostNetwork {
  std::string host;
  std::vector<NetworkInterface> interfaces;
  std::string address;  ///< by which the coordinator reaches it
};

struct NetworkChoice {
  std::vector<std::string> networks;    ///< e.g. 10.0.0.0/24, ascending: for MPI
  std::vector<std::string> interfaces;  ///< names, ascending: for NCCL
};

/// `network` as CIDR, e.g. 10.0.0.0/24; nothing where it is none.
std::optional<NetworkInterface> parse_network(const std::string& text);
/// That of an interface: 10.0.0.0/24.
std::string network_of(const NetworkInterface& interface);
bool contains(const NetworkInterface& network, const std::string& address);

/// On each host the interface by which the coordinator reaches it or, where `network` is given,
/// those in that network. Throws kFailedPrecondition naming a host that has none.
NetworkChoice choose_network(const std::vector<HostNetwork>& hosts,
                             const std::optional<NetworkInterface>& network);

}  // namespace musher

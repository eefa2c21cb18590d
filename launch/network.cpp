#include "launch/network.h"

#include <charconv>
#include <cstdint>
#include <set>

#include <arpa/inet.h>

#include "common/error.h"

namespace musher {

namespace {

std::optional<std::uint32_t> number_of(const std::string& address) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) return std::nullopt;
  return ntohl(parsed.s_addr);
}

std::uint32_t mask_of(int prefix) {
  return prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix);
}

}  // namespace

std::optional<NetworkInterface> parse_network(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return std::nullopt;
  NetworkInterface network{"", text.substr(0, slash), -1};
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data() + slash + 1, end, network.prefix);
  if (error != std::errc() || last != end || network.prefix < 0 || network.prefix > 32 ||
      !number_of(network.address)) {
    return std::nullopt;
  }
  return network;
}

std::string network_of(const NetworkInterface& interface) {
  const in_addr address{
      htonl(number_of(interface.address).value_or(0) & mask_of(interface.prefix))};
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &address, text, sizeof text);
  return std::string(text) + "/" + std::to_string(interface.prefix);
}

bool contains(const NetworkInterface& network, const std::string& address) {
  const auto own = number_of(network.address);
  const auto other = number_of(address);
  return own && other && ((*own ^ *other) & mask_of(network.prefix)) == 0;
}

NetworkChoice choose_network(const std::vector<HostNetwork>& hosts,
                             const std::optional<NetworkInterface>& network) {
  std::set<std::string> networks;
  std::set<std::string> names;
  for (const HostNetwork& host : hosts) {
    bool found = false;
    for (const NetworkInterface& one : host.interfaces) {
      if (network ? !contains(*network, one.address) : one.address != host.address) continue;
      networks.insert(network_of(one));
      names.insert(one.name);
      found = true;
    }
    if (found) continue;
    throw Error(ErrorCode::kFailedPrecondition,
                "host " + host.host +
                    (network ? " has no interface in the network " + network_of(*network)
                             : " has no interface with the address " + host.address +
                                   ", by which it is reached; name the network with --network"));
  }
  return {{networks.begin(), networks.end()}, {names.begin(), names.end()}};
}

}  // namespace musher

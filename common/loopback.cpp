#include "common/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>

namespace musher {

bool is_loopback(const std::string& host) {
  if (host.find('\0') != std::string::npos) return false;
  in_addr four = {};
  if (::inet_pton(AF_INET, host.c_str(), &four) == 1) {
    return ntohl(four.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
  }
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  const std::string address = bracketed ? host.substr(1, host.size() - 2) : host;
  in6_addr six = {};
  if (::inet_pton(AF_INET6, address.c_str(), &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
  return host == "localhost";
}

}  // namespace musher

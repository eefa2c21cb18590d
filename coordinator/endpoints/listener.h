#pragma once

#include <filesystem>
#include <string>

#include "endpoints.pb.h"

/// Where an endpoint is reached: an address of the coordinator's machine, by default loopback. What
/// other machines reach has TLS, with the `server` certificate of `musher certs`, and takes signed
/// requests alone.
namespace musher {

inline constexpr const char* kLoopbackAddress = "127.0.0.1";

bool has_tls(const v1::EndpointRecord& record);

/// Throws where `address`, an IPv4 address, is not loopback and there are no `keys`
/// (kInvalidArgument), or the coordinator has no TLS folder (kFailedPrecondition).
void check_listener(const std::string& address, const std::string& keys,
                    const std::filesystem::path& tls);

/// The port itself, or a free one for 0. kAlreadyExists where another process has it,
/// kInvalidArgument for an address that is none of this machine's.
int free_port(const std::string& address, int port);

/// `host`: what this machine is called, for an endpoint on all its addresses.
std::string url_of(const v1::EndpointRecord& record, const std::string& host);

/// Certificate and private key of a TLS folder in one text, as HAProxy reads them. A secret.
std::string tls_identity(const std::filesystem::path& tls);

}  // namespace musher

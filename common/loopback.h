#pragma once

#include <string>

namespace musher {

/// Whether `host` is this machine's loopback, which only this machine reaches, so that what listens
/// or is reached there may do without TLS: `localhost`, an IPv4 address of 127.0.0.0/8 in four
/// numbers, or the IPv6 address ::1, as in a URL in brackets too. Nothing is looked up: a name such
/// as 127.example.org is somebody's machine, whatever it begins with.
bool is_loopback(const std::string& host);

}  // namespace musher
